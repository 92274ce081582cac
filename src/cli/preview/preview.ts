import { mkdtempDisposable } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeInstall } from '../../build/build-plan.ts';
import { knownVersions } from '../../build/node-version/known.ts';
import { type OpenDecision, planDeploy } from '../../build/plan.ts';
import { checkReceived } from '../../build/receive/check-received.ts';
import { receiveArchive } from '../../build/receive/receive.ts';
import type { ReleaseSettings } from '../../config/app-directory.ts';
import type { EnvironmentId } from '../../config/paths.ts';
import type { Origins } from '../../config/settings-layers.ts';
import type { Notice } from '../../protocol/runner.ts';
import { packDirectory } from '../upload/pack.ts';
import { evaluateIn } from './evaluate.ts';

/** Outcome of `sluice check`: the decisions of a deploy before its install and build. */
export interface Preview {
  /** checked directory; absolute */
  directory: string;
  /** number of files that a deploy would upload */
  files: number;
  /** directory of the release in the upload, from the setting `root`; '' for all of it */
  root: string;
  node: { version: string; reason: string };
  /** package manager and its version; null if there is nothing to install and to build */
  install: string | null;
  /** start as far as it is known before the build, with the rule that found it */
  start: string;
  /** decisions that only the build can complete */
  open: OpenDecision[];
  /** `reason` is null if nothing but the settings decides */
  workers: { count: number; reason: string | null };
  /** background processes, with their commands as written */
  processes: { name: string; command: string; count: number }[];
  /** all settings, with their defaults */
  settings: ReleaseSettings;
  /** source of each setting that is not a default, by path */
  origins: Origins;
  notices: Notice[];
}

/** The server has the limits: this directory is the user's own. */
const unlimited = {
  maxUploadBytes: Number.MAX_SAFE_INTEGER,
  maxExtractedBytes: Number.MAX_SAFE_INTEGER,
  maxEntries: Number.MAX_SAFE_INTEGER,
  uploadTimeout: 600_000,
};

/**
 * Plans a deploy of a directory, without a server and without a network. Packs the directory and unpacks it elsewhere, as a deploy
 * does, so that files that are not uploaded do not count.
 * @param id app, for the setting `root`, and environment, for its settings
 * @param note called with a text for the user
 * @throws AppError as `packDirectory`, `receiveArchive` and `planDeploy` do
 */
export async function preview(
  directory: string,
  { app, environment }: EnvironmentId,
  note: (text: string) => void,
): Promise<Preview> {
  await using temporary = await mkdtempDisposable(join(tmpdir(), 'sluice-check-'));
  const { files, stream } = await packDirectory(directory, note);
  const options = { contentLength: null, signal: new AbortController().signal, app };
  const { root, member, ...received } = await receiveArchive(stream, temporary.path, unlimited, options);
  const ofUpload = checkReceived(received, false);
  const nodes = { own: process.versions.node, list: async () => knownVersions };
  const cores = availableParallelism();
  const evaluate = evaluateIn(temporary.path, {
    NODE_ENV: environment,
    SLUICE_APP: app,
    SLUICE_ENVIRONMENT: environment,
  });
  const plan = await planDeploy(temporary.path, { nodes, cores, member, environment, evaluate });
  const { node, build, packages, description, open, workers, settings, origins } = plan;
  const all = [...(build === undefined ? [] : [build]), ...packages];
  const installs = await Promise.all(all.map((each) => describeInstall(each, node.version)));
  return {
    ...{ directory, files, root },
    node: { version: node.version, reason: node.reason },
    install: installs.length === 0 ? null : installs.join('; '),
    start: description,
    processes: plan.start.background.map(({ name, count, command: { text } }) => {
      return { name, count, command: settings.processes[name]?.command ?? text };
    }),
    ...{ open, workers, settings, origins },
    notices: [...ofUpload, ...plan.notices],
  };
}
