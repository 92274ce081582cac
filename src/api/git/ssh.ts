import type Koa from 'koa';
import type { Context, Middleware } from 'koa';
import { AppError, errorBody } from '../../errors/app-error.ts';
import { type GitProgram, gitPrograms } from '../../git/git.ts';
import type { AppService } from '../../service/app-service.ts';
import type { Log } from '../../system/log/log.ts';
import { printable } from '../../system/text/printable.ts';
import type { KeyStore } from '../auth/keys.ts';
import { assertMayAccess } from '../auth/principal.ts';
import type { ApiState } from '../context.ts';
import { createKoa } from '../koa.ts';
import { serveGit } from './serve-git.ts';

/**
 * Creates the API for src/relay/ssh.cjs, on a unix socket of its own. A process that can open the socket can push with every key, and
 * do nothing else. The body of the answer is the output of git; its trailers have the exit status and the last message.
 */
export function createSshApi(service: AppService, keys: KeyStore, log: Log): Koa<ApiState> {
  const app = createKoa(log, () => true);
  app.use(logRefusals(log));
  app.use(async (ctx, next) => {
    if (ctx.method !== 'POST' || ctx.path !== '/ssh') return next();
    if (ctx.req.httpVersion !== '1.1')
      throw new AppError('bad_request', 'this call needs HTTP/1.1: its answer ends in trailers');
    const command = decodedHeader(ctx, 'x-sluice-command');
    const key = await keys.find(decodedHeader(ctx, 'x-sluice-key'));
    if (key === undefined)
      throw new AppError('forbidden', 'this key was removed', {
        hint: 'Add a key on the server: `sluice keys add`',
      });
    ctx.state.principal = { name: `ssh:${key.name}`, scope: 'deploy', mayRun: false, app: key.app };
    const request = parseCommand(command);
    assertMayAccess(ctx.state.principal, request.app);
    const begin = () => {
      ctx.res.writeHead(200, { trailer: 'sluice-status, sluice-message' });
      ctx.res.flushHeaders();
    };
    const call = { ...request, mode: 'duplex', input: ctx.req, warning: null, begin } as const;
    const { code, complaint } = await serveGit(ctx, service, call);
    ctx.res.addTrailers({
      'sluice-status': String(code),
      'sluice-message': encodeURIComponent(printable(complaint.slice(-1000), false).toWellFormed()),
    });
    ctx.res.end();
  });
  return app;
}

/** @throws AppError `bad_request` */
function decodedHeader(ctx: Context, name: string): string {
  try {
    return decodeURIComponent(ctx.get(name));
  } catch (cause) {
    throw new AppError('bad_request', `the header ${name} is not percent-encoded UTF-8`, { cause });
  }
}

/** Logs the key and the command of a refused call. */
function logRefusals(log: Log): Middleware<ApiState> {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      const { code, message } = errorBody(error);
      const key = ctx.get('x-sluice-key').slice(0, 200);
      const command = ctx.get('x-sluice-command').slice(0, 300);
      log.warn('ssh refused', { key, command, code, message });
      throw error;
    }
  };
}

/**
 * Parses the command of git over ssh: a program and a quoted path, such as `git-receive-pack '/shop.git'`.
 * @throws AppError `forbidden` for all other commands, such as a shell
 */
function parseCommand(command: string): { program: GitProgram; app: string } {
  const [, name, path] =
    /^git[- ]((?:receive|upload)-pack) '?\/?([^']*?)(?:\.git)?\/?'?$/.exec(command) ?? [];
  const program = gitPrograms.find((each) => each === `git-${name}`);
  if (program !== undefined && path !== undefined) return { program, app: path };
  throw new AppError('forbidden', 'this account accepts only pushes and fetches of git', {
    hint: 'git remote add deploy ssh://USER@HOST/APP && git push deploy main',
  });
}
