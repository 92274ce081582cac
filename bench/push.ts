import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Checkout } from '../test/support/git.ts';
import { startSluice } from '../test/support/server.ts';
import { Sshd } from '../test/support/sshd.ts';
import { bootTimes, hello, inScope, median, row, sluiceEnvironment } from './support.ts';

const workers = 2;
const pushes = 9;

/** Measures a push of a small app until git has ended, without the boots of the app, over ssh and http. */
export function benchPush(): Promise<void> {
  return inScope(async (t) => {
    const env = await sluiceEnvironment(t);
    const sluice = await startSluice(t, { env });
    const ways = [{ way: 'http', url: sluice.gitUrl('http'), settings: {} }];
    if (existsSync('/usr/sbin/sshd')) {
      const sshd = await Sshd.start(t, join(sluice.home, '.ssh/authorized_keys'));
      await sluice.call('POST', '/v1/keys', { name: 'bench', key: await sshd.makeKey('bench') });
      ways.push({ way: 'ssh', url: sshd.url('ssh'), settings: { GIT_SSH_COMMAND: sshd.command('bench') } });
    }
    const boot = median(await bootTimes());
    for (const { way, url, settings } of ways) {
      const checkout = await Checkout.create(t, settings);
      await checkout.write({
        'server.js': await readFile(hello, 'utf8'),
        'sluice.json': { settleTime: 0, workers },
      });
      const times: number[] = [];
      for (let push = 0; push < pushes; push += 1) {
        await checkout.commit(`Push ${push}`, { 'lib/data.js': `// ${push}\n` });
        const start = performance.now();
        await checkout.git('push', '--quiet', url, 'main');
        times.push(performance.now() - start);
      }
      const overhead = median(times) - workers * boot;
      console.log(
        `git push over ${way}, ${workers} workers, settleTime 0: ${median(times).toFixed(0)} ms; the app alone boots in ${boot.toFixed(0)} ms`,
      );
      row(`git push over ${way} beyond the boots, median`, `${overhead.toFixed(0)} ms`, '≤ 700 ms');
    }
  });
}
