import type { ServerOptions } from 'node:http';
import type Koa from 'koa';
import { koaRouter } from '../system/process/footprint.ts';
import { authenticate } from './auth/principal.ts';
import type { ApiOptions, ApiState } from './context.ts';
import { gitRoutes } from './git/http.ts';
import { createKoa } from './koa.ts';
import { routeAdder } from './route.ts';
import { accessRoutes } from './routes/access.ts';
import { appRoutes } from './routes/apps.ts';
import { domainRoutes } from './routes/domains.ts';
import { logRoutes } from './routes/logs.ts';
import { releaseRoutes } from './routes/releases.ts';
import { runRoutes } from './routes/runs.ts';
import { serverRoutes } from './routes/server.ts';
import { asksForWebSocket } from './upgrade.ts';

/**
 * Options for the http servers that serve the API. An upload may take longer than Node's 5 minutes for a whole request; the
 * code that reads an upload checks that bytes keep arriving. Node enforces `headersTimeout` only when it checks connections:
 * every 30 s by default. TCP keep-alive detects clients whose machine is gone while the server has nothing to send, such as a
 * client that follows a quiet log: the kernel closes the connection some minutes after the delay.
 */
export const apiServerOptions: ServerOptions = {
  requestTimeout: 0,
  headersTimeout: 10_000,
  connectionsCheckingInterval: 1000,
  keepAlive: true,
  keepAliveInitialDelay: 15 * 60_000,
  shouldUpgradeCallback: asksForWebSocket,
};

/**
 * Creates the HTTP API: see docs/api.md.
 * @param local true for the unix socket, whose callers need no token
 */
export function createApi(options: ApiOptions, local: boolean): Koa<ApiState> {
  const { log, tokens, version } = options;
  const { Router } = koaRouter();
  const router = new Router<ApiState>();
  const add = routeAdder(router);
  accessRoutes(add, options);
  appRoutes(add, options);
  domainRoutes(add, options);
  gitRoutes(add, options);
  logRoutes(add, options);
  releaseRoutes(add, options);
  runRoutes(add, options);
  serverRoutes(add, options);

  const app = createKoa(log);
  app.use(async (ctx, next) => {
    if (ctx.path === '/healthz') ctx.body = { status: 'ok', version };
    else await next();
  });
  app.use(authenticate(tokens, local));
  app.use(router.routes());
  app.use(router.allowedMethods());
  return app;
}
