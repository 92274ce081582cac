import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { type BuildContext, build } from '../../src/build/build.ts';
import { type AppSettings, appSettingsSchema } from '../../src/config/app-settings.ts';
import type { Notice } from '../../src/protocol/runner.ts';
import { runJob } from './jobs.ts';

export { writeTree } from './tree.ts';

/** Settings of an app that says nothing about itself but `settings`. */
export function appSettings(settings: v.InferInput<typeof appSettingsSchema> = {}): AppSettings {
  return v.parse(appSettingsSchema, settings);
}

/** Package managers that tests share, from run to run: they are what a build takes longest to get. */
const testTools = fileURLToPath(new URL('../../node_modules/.cache/sluice-test/tools', import.meta.url));

export interface BuildRun {
  steps: string[];
  notices: Notice[];
  lines: string[];
}

/** Builds a tree with real package managers; also where it fails, what was reported is in `run`. */
export async function runBuild(
  directory: string,
  changes: Partial<BuildContext> = {},
  run: BuildRun = { steps: [], notices: [], lines: [] },
): Promise<BuildRun> {
  await build({
    directory,
    about: {},
    tools: testTools,
    cache: join(directory, '..', `${basename(directory)}-cache`),
    settings: appSettings(),
    node: process.execPath,
    nodeVersion: process.versions.node,
    env: {},
    secrets: Object.values(changes.env ?? {}),
    user: 'shop',
    isolated: false,
    runJob,
    step: (step) => run.steps.push(step),
    log: (line) => run.lines.push(line),
    notice: (notice) => run.notices.push(notice),
    signal: new AbortController().signal,
    ...changes,
  });
  return run;
}
