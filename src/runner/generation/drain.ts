import type { GenerationSpec } from '../../protocol/runner.ts';
import { firstOf, withDeadline } from '../../system/concurrency/deadline.ts';
import { counted, formatDuration } from '../../system/text/format.ts';
import type { WorkerHandle } from './worker-handle.ts';

/**
 * Lets a retired worker finish its requests for up to `drainTimeout`, logs the requests that are cut, and ends the worker.
 * @param hurry ends the wait early
 */
export async function drainWorker(
  worker: WorkerHandle,
  { drainTimeout }: Pick<GenerationSpec, 'drainTimeout'>,
  hurry: AbortSignal,
): Promise<void> {
  const start = performance.now();
  worker.recordRetirement();
  await firstOf<unknown>([withDeadline(worker.drained, drainTimeout)], [hurry]);
  if (worker.alive && worker.state !== 'drained') {
    const setting = hurry.aborted ? 'maxDraining' : 'drainTimeout';
    const after = `${formatDuration(performance.now() - start)} after the worker retired ("${setting}")`;
    for (const line of await describeCuts(worker, after)) worker.log(line);
  }
  await worker.end();
}

async function describeCuts(worker: WorkerHandle, after: string): Promise<string[]> {
  const inFlight = await worker.inFlight();
  if (inFlight === undefined) return [`is ended with what it had in flight: not finished ${after}`];
  const { requests, connections, named } = inFlight;
  const lines = named.map((request) => `cuts ${request}: not answered ${after}`);
  const others = requests - named.length;
  if (others > 0) lines.push(`cuts ${counted(others, 'more request')}: not answered ${after}`);
  if (connections > 0)
    lines.push(`cuts ${counted(connections, 'connection')} (WebSocket, HTTP/2 or the like): open ${after}`);
  return lines;
}
