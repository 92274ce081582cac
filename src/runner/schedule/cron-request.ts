import type { GenerationSpec } from '../../protocol/runner.ts';
import { isEverywhere } from '../../system/net/address.ts';
import { http } from '../../system/net/http.ts';
import { formatDuration } from '../../system/text/amounts.ts';
import type { CronOutcome } from './cron-command.ts';

/** Asks the app as any client would. */
export function askApp(
  { host, port }: GenerationSpec,
  { method, path }: { method: string; path: string },
  timeout: number,
  signal: AbortSignal,
): Promise<CronOutcome> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
  return new Promise((resolve, reject) => {
    const asking = http.request(
      {
        host: isEverywhere(host) ? '127.0.0.1' : host,
        port,
        method,
        path,
        agent: false,
        signal: bounded,
        headers: { 'user-agent': 'sluice-cron' },
      },
      (response) => {
        const { statusCode: status = 0 } = response;
        response.resume();
        response.once('end', () => resolve({ failed: status >= 400, detail: `answered ${status}` }));
        response.once('error', reject);
      },
    );
    asking.once('error', (error) => {
      reject(
        bounded.aborted && !signal.aborted ? new Error(`no answer within ${formatDuration(timeout)}`) : error,
      );
    });
    asking.end();
  });
}
