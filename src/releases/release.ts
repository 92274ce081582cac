import type { AppSettings } from '../config/app-settings.ts';
import type { ErrorBody } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import type { AppProtocol } from '../protocol/worker.ts';

/** The state of a release, as the API shows it. Derived, never stored: see `releaseState`. */
export type ReleaseState = 'building' | 'failed' | 'live' | 'retained' | 'removed';

/** One of the commits that a release brings. */
interface CommitLine {
  /** full hash */
  commit: string;
  author: string;
  /** first line of the message */
  subject: string;
}

/** Where a release came from. What git knows of it is null where there was no git. */
export interface ReleaseSource {
  kind: 'upload' | 'git';
  /** who deployed it: a token's name, `ssh:` and a key's name, or `local` */
  by: string;
  /** full hash */
  commit: string | null;
  branch: string | null;
  author: string | null;
  message: string | null;
  /** the part of the commit that was uploaded, relative to its top; null for all of it */
  directory: string | null;
  /** files that differ from the commit: of a directory that was uploaded as it was */
  changedFiles: number;
  /** what is new since the release that was live, the newest first, as far as it is told one by one */
  commits: CommitLine[];
  /** how many are new in all; null where that is not known */
  commitCount: number | null;
}

/** Of a release that git knows nothing of. Records from before Sluice knew of git do not say so themselves. */
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

/** The commit whose files a release has, all of them and no others; null where there is none. */
export function wholeCommit({ commit, directory, changedFiles }: ReleaseSource): string | null {
  // Records from before Sluice knew of git have no more than the first.
  return directory || changedFiles > 0 ? null : commit;
}

/** What `.sluice/release.json` holds. Times are ISO 8601 in UTC, durations milliseconds. */
export interface ReleaseRecord {
  number: number;
  source: ReleaseSource;
  createdAt: string;
  /** first time live; null where it never was */
  liveAt: string | null;
  /** why and at which step it failed; null where it did not */
  error: (ErrorBody & { step: string }) | null;
  notices: Notice[];
  /** from accepted to live */
  durationMs: number | null;
  buildMs: number | null;
  sizeBytes: number | null;
  /** how it is run, settled when it was built; null until then */
  run: RunPlan | null;
  /** protocol that the app spoke on its port at the last switch to this release; left out for plain HTTP */
  protocol?: AppProtocol;
}

/** How a program is started: as `node …nodeArgs script …args` in the directory of the release, with `env` added. */
export interface ProgramPlan {
  /** relative to the release; a file that is there */
  script: string;
  args: string[];
  nodeArgs: string[];
  /** variables that its command sets, as in `NODE_ENV=production node app.js`; of the app never PORT, which is ours to give */
  env: Record<string, string>;
}

/** What it takes to run a release again later, whatever became of the settings since. */
export interface RunPlan extends ProgramPlan {
  settings: AppSettings;
  workers: number;
  background: BackgroundPlan[];
}

/** The same of a background process; PORT has nothing to do with it, and may be anything. */
export interface BackgroundPlan extends ProgramPlan {
  name: string;
  count: number;
  /** whether new ones may start while old ones still run */
  overlap: boolean;
}

/** A release as the API shows it. */
export interface Release extends Omit<ReleaseSource, 'kind'> {
  app: string;
  environment: string;
  number: number;
  state: ReleaseState;
  url: string;
  createdAt: string;
  liveAt: string | null;
  durationMs: number | null;
  buildMs: number | null;
  sizeBytes: number | null;
  error: ReleaseRecord['error'];
  notices: Notice[];
}

interface ReleaseFacts {
  /** number of the release that has the traffic; null where none has */
  activeRelease: number | null;
  /** whether its files are there, not only its records */
  hasTree: boolean;
  /** whether this server is deploying it now */
  underWay: boolean;
}

/** building → live → retained → removed, or building → failed. A rollback makes a retained release live again. */
export function releaseState(
  record: Pick<ReleaseRecord, 'number' | 'error' | 'liveAt'>,
  { activeRelease, hasTree, underWay }: ReleaseFacts,
): ReleaseState {
  if (record.error !== null) return 'failed';
  if (record.number === activeRelease) return 'live';
  if (underWay) return 'building';
  // Nobody works on it and it never was live: a crash ended it, and the next reconcile writes that down.
  if (record.liveAt === null) return 'failed';
  return hasTree ? 'retained' : 'removed';
}
