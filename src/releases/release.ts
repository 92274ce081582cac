import type { AppSettings } from '../config/app-settings.ts';
import type { ErrorBody } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';

/** The state of a release, as the API shows it. Derived, never stored: see `releaseState`. */
export type ReleaseState = 'building' | 'failed' | 'live' | 'retained' | 'removed';

/** What `.sluice/release.json` holds. Times are ISO 8601 in UTC, durations milliseconds. */
export interface ReleaseRecord {
  number: number;
  /** where it came from; `commit` only where git told us */
  source: { kind: 'upload' | 'git'; by: string; commit: string | null };
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
}

/** What it takes to run a release again later, whatever became of the settings since. */
export interface RunPlan {
  settings: AppSettings;
  /** path of the script, relative to the release */
  script: string;
  args: string[];
  nodeArgs: string[];
  /** variables that the start command itself sets, as in `NODE_ENV=production node app.js` */
  env: Record<string, string>;
  workers: number;
}

/** A release as the API shows it. */
export interface Release {
  app: string;
  environment: string;
  number: number;
  state: ReleaseState;
  url: string;
  commit: string | null;
  by: string;
  createdAt: string;
  liveAt: string | null;
  durationMs: number | null;
  buildMs: number | null;
  sizeBytes: number | null;
  error: ReleaseRecord['error'];
  notices: Notice[];
}
