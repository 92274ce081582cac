import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { create } from 'tar';
import { temporaryDirectory } from './temporary.ts';
import { writeTree } from './tree.ts';

/** Registry on loopback with the package `@acme/secret`, for those who send the token. */
export interface PrivateRegistry {
  url: string;
  /** number of requests without the token */
  readonly refused: number;
}

export async function startPrivateRegistry(
  t: Pick<TestContext, 'after'>,
  token: string,
): Promise<PrivateRegistry> {
  const version = '1.2.3';
  const files = await temporaryDirectory(t);
  await writeTree(files, {
    'package/package.json': { name: '@acme/secret', version, license: 'MIT' },
    'package/index.js': "module.exports = 'of the private registry';",
  });
  const tarball = await create({ gzip: true, cwd: files }, ['package']).concat();
  let refused = 0;
  const server = createServer((request, response) => {
    if (!isAuthorized(request, token)) {
      refused += 1;
      response.writeHead(401, { 'WWW-Authenticate': 'Bearer' }).end('{"error": "unauthorized"}');
    } else if (request.url?.endsWith('.tgz')) {
      response.writeHead(200, { 'Content-Type': 'application/octet-stream' }).end(tarball);
    } else if (decodeURIComponent(request.url ?? '') === '/@acme/secret') {
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(
        JSON.stringify({
          name: '@acme/secret',
          'dist-tags': { latest: version },
          versions: {
            [version]: {
              ...{ name: '@acme/secret', version, license: 'MIT' },
              dist: {
                tarball: `${url}@acme/secret/-/secret-${version}.tgz`,
                shasum: createHash('sha1').update(tarball).digest('hex'),
                integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
              },
            },
          },
          time: { [version]: '2020-01-01T00:00:00.000Z', modified: '2020-01-01T00:00:00.000Z' },
        }),
      );
    } else response.writeHead(404).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    url,
    get refused() {
      return refused;
    },
  };
}

function isAuthorized({ headers }: IncomingMessage, token: string): boolean {
  return headers.authorization === `Bearer ${token}`;
}
