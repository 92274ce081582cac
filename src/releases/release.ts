import type { AppSettings } from '../config/app-settings.ts';
import type { Reach } from '../config/reach.ts';
import type { ErrorBody } from '../errors/app-error.ts';
import type { ExecCommand, Notice } from '../protocol/runner.ts';
import type { AppProtocol } from '../protocol/worker.ts';
import type { Word } from './words.ts';

/** State of a release in the API. Derived, never stored: see `releaseState`. */
type ReleaseState = 'building' | 'failed' | 'live' | 'retained' | 'reverted' | 'removed';

/** New commit of a release. */
interface CommitLine {
  /** full hash */
  commit: string;
  author: string;
  /** first line of the message */
  subject: string;
}

/** Origin of a release. Facts from git are null without git. */
export interface ReleaseSource {
  kind: 'upload' | 'git';
  /** name of a token, `ssh:` and the name of a key, or `local` */
  by: string;
  /** full hash */
  commit: string | null;
  branch: string | null;
  author: string | null;
  message: string | null;
  /** uploaded directory of the commit, relative to its root; null for the whole commit */
  directory: string | null;
  /** number of uploaded files that differ from the commit */
  changedFiles: number;
  /** commits since the previous live release, the newest first; may be only the first ones */
  commits: CommitLine[];
  /** number of all commits since that release; null if unknown */
  commitCount: number | null;
}

/** Origin without git. Records of early versions of Sluice lack these fields. */
export const noCommit = {
  commit: null,
  branch: null,
  author: null,
  message: null,
  directory: null,
  changedFiles: 0,
  commits: [],
  commitCount: null,
} satisfies Omit<ReleaseSource, 'kind' | 'by'>;

/** Returns the commit whose files are exactly those of the release; null if there is none. */
export function wholeCommit({ commit, directory, changedFiles }: ReleaseSource): string | null {
  // Records of early versions of Sluice lack these fields.
  return directory || changedFiles > 0 ? null : commit;
}

/** Request of an app for versions of Node.js. */
export interface NodeRequest {
  /** source, such as `.nvmrc` */
  from: string;
  /** as written, such as `>=18` or `lts/*` */
  text: string;
}

/** Node.js of a release. */
export interface ReleaseNode {
  /** exact version */
  version: string;
  /** true for the Node.js of Sluice, which changes with an upgrade of Sluice */
  own: boolean;
  /** requests of the app, the one with precedence first */
  requests: NodeRequest[];
}

/** Fingerprints of values, by name. They tell that a value has changed, and nothing about the value. */
export interface Fingerprints {
  /** random key, in hexadecimal digits */
  key: string;
  of: Record<string, string>;
}

/** Content of `.sluice/release.json`. Times are ISO 8601 in UTC, durations milliseconds. */
export interface ReleaseRecord {
  number: number;
  source: ReleaseSource;
  createdAt: string;
  /** first time live; null if never */
  liveAt: string | null;
  /** error and its step; null unless failed */
  error: (ErrorBody & { step: string }) | null;
  notices: Notice[];
  /** from the request to live */
  durationMs: number | null;
  buildMs: number | null;
  sizeBytes: number | null;
  /** start of the release; null until it is built, and after its files were removed */
  run: RunPlan | null;
  /** Node.js that builds and runs the release; undefined before that is decided, and in records of early versions of Sluice */
  node?: ReleaseNode;
  /** variables that the build has used; undefined before the build, and in records of early versions of Sluice */
  builtWith?: Fingerprints;
  /** return to the release before, because this one was worse; undefined if there was none */
  reverted?: { at: string; reason: string };
  /** protocol of the app at the last switch to this release; undefined for plain HTTP */
  protocol?: AppProtocol;
}

/** Start of a program: `node …nodeArgs script …args` in a directory of the release, with `env` added. */
export interface ProgramPlan {
  /** existing file, relative to the release */
  script: string;
  args: Word[];
  nodeArgs: Word[];
  /** variables of the command, as in `NODE_ENV=production node app.js`; never PORT, which Sluice sets */
  env: Record<string, Word>;
  /** variables of env files that the command names; those of the app take precedence. Undefined in earlier records */
  defaults?: Record<string, string>;
  /** values in `env` that are of env files, and values of secret variables in the settings, to mask. Undefined without any, and in earlier records */
  secrets?: string[];
  /** working directory, relative to the release; undefined for the release itself, and in earlier records */
  directory?: string;
}

/** Start of a release, so that it can run again after the settings have changed. */
export interface RunPlan extends ProgramPlan {
  settings: AppSettings;
  /** source of each setting that is not a default, by path; undefined in earlier records */
  origins?: Record<string, string>;
  workers: number;
  background: BackgroundPlan[];
  /** shell commands that run once in the release, before its workers start; undefined if there are none, and in earlier records */
  before?: string[];
  /** static site to serve, with `script` empty; undefined for an app that starts a program, and in earlier records */
  static?: StaticPlan;
  /**
   * true if the release starts processes with node:cluster, as a boot has shown: then `script` runs in exec mode, as one worker.
   * Undefined in other releases, and in earlier records
   */
  usesCluster?: true;
  /**
   * directories with programs of the package manager that built the release, relative to that of all package managers, where they
   * may be missing; undefined in earlier records
   */
  path?: string[];
  /** variables that the package manager requires; undefined in earlier records */
  managerEnv?: Record<string, string>;
  /** directories of files of earlier releases that the server of the app does not find; undefined in earlier records */
  earlierAssets?: EarlierAssets[];
  /** command of exec mode, with `script` empty; undefined if the app starts from a file, and in earlier records */
  exec?: ExecCommand;
}

/** Returns false for a release that runs only background processes, without a port. */
export function hasWorkers({ run }: Pick<ReleaseRecord, 'run'>): boolean {
  return run?.workers !== 0;
}

/** Static site of a release: what src/static/serve.cjs serves. */
export interface StaticPlan {
  /** relative to the release; `.` for the release itself */
  directory: string;
  /** page for navigations to paths without a file, relative to `directory`; null for none */
  fallback: string | null;
  /** path at which the pages expect the site, with slashes at both ends: `/`, or `/docs/` */
  base: string;
}

/** Directory of hashed files of earlier releases: what src/static/earlier-assets.cjs serves. */
export interface EarlierAssets {
  /** relative to the release */
  directory: string;
  /** end of the URL of the directory, with slashes at both ends, such as `/_nuxt/` */
  url: string;
}

/** Start of a background process. Its PORT has no meaning for Sluice. */
export interface BackgroundPlan extends ProgramPlan {
  name: string;
  count: number;
  /** true to start new processes before the old ones have ended */
  overlap: boolean;
  /** command for a shell, with `script` empty; undefined for a file, and in earlier records */
  exec?: ExecCommand;
}

/** Release in the API. */
export interface Release
  extends Omit<ReleaseSource, 'kind'>,
    Omit<ReleaseRecord, 'source' | 'run' | 'protocol' | 'builtWith'> {
  app: string;
  environment: string;
  state: ReleaseState;
  /** null for a release without workers, which has no port */
  url: string | null;
  reach: Reach | null;
}

interface ReleaseFacts {
  /** number of the active release; null if there is none */
  activeRelease: number | null;
  /** true if the files of the release exist, not only its records */
  hasTree: boolean;
  /** true if this server deploys the release now */
  underWay: boolean;
}

/** Returns the state: building → live → retained → removed, or building → failed. A rollback makes a retained or reverted release live. */
export function releaseState(
  record: Pick<ReleaseRecord, 'number' | 'error' | 'liveAt' | 'reverted'>,
  { activeRelease, hasTree, underWay }: ReleaseFacts,
): ReleaseState {
  if (record.error !== null) return 'failed';
  if (record.number === activeRelease) return 'live';
  if (underWay) return 'building';
  // A crash has interrupted the deploy; the next reconcile records that.
  if (record.liveAt === null) return 'failed';
  if (!hasTree) return 'removed';
  return record.reverted === undefined ? 'retained' : 'reverted';
}
