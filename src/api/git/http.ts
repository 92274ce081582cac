import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { Router, RouterMiddleware } from '@koa/router';
import type { Context } from 'koa';
import { AppError } from '../../errors/app-error.ts';
import { type ServiceMode, type ServiceName, serviceNames } from '../../git/service.ts';
import type { AppService } from '../../service/app-service.ts';
import { isLoopback } from '../../system/net/address.ts';
import { need } from '../auth/principal.ts';
import { drained } from '../body.ts';
import { type ApiContext, type ApiState, queryText, takes } from '../context.ts';
import { renderPush } from '../deploy-text.ts';
import { carry } from './carry.ts';

/** The protocol of git over HTTP: gitprotocol-http(5). A push deploys; to fetch gives what was deployed. */
export function gitRoutes(router: Router<ApiState>, service: AppService): void {
  router.get('/git/:app/info/refs', named, need('deploy'), takes('service'), async (ctx) => {
    const name = serviceNames.find((each) => each === queryText(ctx, 'service'));
    if (name === undefined) {
      throw new AppError('bad_request', 'this is not how git speaks today', {
        hint: 'Only the smart protocol is served, which git has known since version 1.6.6.',
      });
    }
    await serve(ctx, service, name, 'advertise', ctx.req);
  });

  for (const name of serviceNames) {
    router.post(`/git/:app/${name}`, named, need('deploy'), takes(), async (ctx) => {
      if (ctx.get('content-type') !== `application/x-${name}-request`) {
        throw new AppError('bad_request', `this takes application/x-${name}-request`, {
          hint: 'Clients of git send it: git push, git fetch.',
        });
      }
      await serve(ctx, service, name, 'stateless', unzipped(ctx));
    });
  }
}

/** `shop.git` and `shop` are the same; whether that is a name is for the service to say. */
const named: RouterMiddleware<ApiState> = (ctx, next) => {
  ctx.params['app'] = ctx.params['app']?.replace(/\.git$/, '') ?? '';
  return next();
};

async function serve(
  ctx: ApiContext,
  service: AppService,
  name: ServiceName,
  mode: ServiceMode,
  input: Readable,
): Promise<void> {
  const protocol = ctx.get('git-protocol');
  const exchange = await service.git(ctx.params['app'] ?? '', {
    service: name,
    mode,
    protocol,
    by: ctx.state.principal.name,
    warning: tokenInTheClear(ctx),
    render: renderPush,
  });
  const { code } = await carry(exchange, input, ctx.res, () => {
    ctx.respond = false;
    ctx.res.writeHead(200, {
      ...ctx.res.getHeaders(),
      'content-type': `application/x-${name}-${mode === 'advertise' ? 'advertisement' : 'result'}`,
      'cache-control': 'no-cache, max-age=0, must-revalidate',
    });
    // Version 2 begins with a line of its own instead (gitprotocol-v2(5)); there is none for pushing.
    const isNew = name === 'git-upload-pack' && protocol.includes('version=2');
    if (mode === 'advertise' && !isNew) ctx.res.write(announcement(name));
  });
  // A pusher's git would wait for ever for the rest of an answer that looks complete.
  if (name === 'git-receive-pack' && code !== 0) {
    ctx.res.destroy();
    return;
  }
  if (!ctx.req.complete) await drained(ctx.req);
  ctx.res.end();
}

/** The service as a pkt-line, and a flush: gitprotocol-http(5), "Smart Server Response". */
function announcement(name: ServiceName): string {
  const line = `# service=${name}\n`;
  return `${(line.length + 4).toString(16).padStart(4, '0')}${line}0000`;
}

/** Git compresses what it asks for where that is long. @throws AppError `bad_request` */
function unzipped({ req }: ApiContext): Readable {
  const encoding = req.headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity') return req;
  if (encoding !== 'gzip' && encoding !== 'x-gzip') {
    throw new AppError('bad_request', `a body in ${encoding} is not understood`, {
      hint: 'Send it as gzip, or as it is.',
    });
  }
  const unzipped = createGunzip();
  // The sender may disconnect before any code reads. Readers find the error in the state of the stream.
  unzipped.on('error', () => undefined);
  pipeline(req, unzipped, () => undefined);
  return unzipped;
}

/**
 * What whoever sent a token should know where it came over the network as it is; null where it did not. What comes from
 * loopback comes from this machine: from our own edge, which speaks TLS, a tunnel, or somebody here.
 */
export function tokenInTheClear({ req }: Pick<Context, 'req'>): string | null {
  const { remoteAddress } = req.socket;
  // One that has been closed meanwhile has none, and nobody to tell.
  if (remoteAddress === undefined || isLoopback(remoteAddress)) return null;
  return `warning: your token came here unencrypted, over http: whoever is on the way can read it and use it.
  Push over ssh, or to an https:// URL, and replace the token: sluice token revoke NAME, sluice token create NAME
`;
}
