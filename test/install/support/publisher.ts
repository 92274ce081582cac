import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from '../../support/temporary.ts';
import { run } from './command.ts';
import type { Guest } from './guest.ts';
import { copyProject } from './project.ts';

export interface Published {
  /** URL of install.sh as a checkout has it */
  script: string;
  /** URL of one into which its publisher has written where the project is */
  filledIn: string;
  /** URL of the project as one file */
  source: string;
  /** of that file, without which nothing is taken by http:// */
  sha256: string;
}

/** Puts install.sh and the project where a guest can download them, on a server that is gone after the test. */
export async function publish(t: Pick<TestContext, 'after'>, guest: Guest): Promise<Published> {
  const directory = await temporaryDirectory(t);
  const tree = join(directory, 'sluice');
  await copyProject(tree);
  await run('tar', ['-czf', join(directory, 'sluice.tar.gz'), '-C', directory, 'sluice']);
  const files = new Map<string, Buffer>();
  const server = createServer((request, response) => {
    const file = files.get(request.url ?? '');
    response.writeHead(file === undefined ? 404 : 200).end(file);
  });
  server.listen(0, guest.host);
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://${guest.host}:${(server.address() as AddressInfo).port}`;
  const archive = await readFile(join(directory, 'sluice.tar.gz'));
  const published = {
    script: `${url}/install.sh`,
    filledIn: `${url}/get.sh`,
    source: `${url}/sluice.tar.gz`,
    sha256: hash('sha256', archive),
  };
  const script = await readFile(join(tree, 'install.sh'), 'utf8');
  files.set('/install.sh', Buffer.from(script));
  files.set('/get.sh', Buffer.from(script.replace(/^published=''$/m, `published='${published.source}'`)));
  files.set('/sluice.tar.gz', archive);
  return published;
}
