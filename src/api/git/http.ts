import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { AppError } from '../../errors/app-error.ts';
import { type GitMode, type GitProgram, gitPrograms } from '../../git/git.ts';
import type { AppService } from '../../service/app-service.ts';
import { isLoopback } from '../../system/net/address.ts';
import { drain } from '../body.ts';
import { type ApiContext, type ApiOptions, queryText } from '../context.ts';
import type { AddRoute } from '../route.ts';
import { serveGit } from './serve-git.ts';

/** Serves git over HTTP: gitprotocol-http(5). A push deploys; a fetch returns deployed commits. */
export function gitRoutes(add: AddRoute, { service }: ApiOptions): void {
  add('GET /git/:app{.git}/info/refs', 'deploy', ['service'], async (ctx) => {
    const name = gitPrograms.find((each) => each === queryText(ctx, 'service'));
    if (name === undefined) {
      throw new AppError('bad_request', 'only the smart HTTP protocol of git is supported', {
        hint: 'Use git 1.6.6 or later.',
      });
    }
    await serve(ctx, service, name, 'advertise', ctx.req);
  });

  for (const name of gitPrograms) {
    add(`POST /git/:app{.git}/${name}`, 'deploy', [], async (ctx) => {
      const type = `application/x-${name}-request`;
      if (ctx.get('content-type') !== type) {
        throw new AppError('bad_request', `this call needs the content type ${type}`, {
          hint: 'Use a client of git: git push, git fetch.',
        });
      }
      await serve(ctx, service, name, 'stateless', unzipped(ctx));
    });
  }
}

async function serve(
  ctx: ApiContext,
  appService: AppService,
  program: GitProgram,
  mode: GitMode,
  input: Readable,
): Promise<void> {
  const begin = () => {
    ctx.res.writeHead(200, {
      ...ctx.res.getHeaders(),
      'content-type': `application/x-${program}-${mode === 'advertise' ? 'advertisement' : 'result'}`,
      'cache-control': 'no-cache, max-age=0, must-revalidate',
    });
    // Version 2 has no announcement (gitprotocol-v2(5)). Pushes have no version 2.
    const isVersion2 = program === 'git-upload-pack' && ctx.get('git-protocol').includes('version=2');
    if (mode === 'advertise' && !isVersion2) ctx.res.write(announcement(program));
  };
  const app = ctx.params['app'] ?? '';
  const warning = unencryptedWarning(ctx);
  const { code } = await serveGit(ctx, appService, { app, program, mode, input, warning, begin });
  // An incomplete answer that looks complete would make the client wait for ever.
  if (program === 'git-receive-pack' && code !== 0) {
    ctx.res.destroy();
    return;
  }
  if (!ctx.req.complete) await drain(ctx.req);
  ctx.res.end();
}

/** Returns the name of the program as a pkt-line, and a flush: gitprotocol-http(5), "Smart Server Response". */
function announcement(name: GitProgram): string {
  const line = `# service=${name}\n`;
  return `${(line.length + 4).toString(16).padStart(4, '0')}${line}0000`;
}

/** Returns the body of a request; git compresses a long list of commits. @throws AppError `bad_request` */
function unzipped({ req }: ApiContext): Readable {
  const encoding = req.headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity') return req;
  if (encoding !== 'gzip' && encoding !== 'x-gzip') {
    throw new AppError(
      'bad_request',
      `unsupported encoding of the body: ${encoding} (expected gzip or none)`,
    );
  }
  const unzipped = createGunzip();
  // The sender may disconnect before any code reads. Readers find the error in the state of the stream.
  unzipped.on('error', () => undefined);
  pipeline(req, unzipped, () => undefined);
  return unzipped;
}

/**
 * Returns a warning for a token that came over the network unencrypted, or null. Requests from loopback come from this machine: from
 * nginx, which terminates TLS, from a tunnel, or from a local user.
 */
function unencryptedWarning({ req }: ApiContext): string | null {
  const { remoteAddress } = req.socket;
  // A closed socket has no address.
  if (remoteAddress === undefined || isLoopback(remoteAddress)) return null;
  return `warning: Your token came unencrypted, over http. Others on the network can read and use it.
  Push over ssh or to an https:// URL, and replace the token: sluice token revoke NAME, sluice token create NAME
`;
}
