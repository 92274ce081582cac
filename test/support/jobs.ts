import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JobResult, JobSpec } from '../../src/protocol/runner.ts';
import { runJob as run } from '../../src/runner/jobs/jobs.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-test-jobs-'));
const records = new ProcessRecords(directory);
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Runs a job as the runner does, in this process. */
export function runJob(
  job: JobSpec,
  onOutput: (text: string) => void,
  signal: AbortSignal,
): Promise<JobResult> {
  const report = async ({ text }: { text: string }) => onOutput(text);
  return run(job, { report, signal }, records);
}
