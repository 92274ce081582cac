import type { ServerOptions } from 'node:http';
import { Router } from '@koa/router';
import type Koa from 'koa';
import type { Edge } from '../edge/edge.ts';
import type { LoggedEvent } from '../releases/events-log.ts';
import type { AppService } from '../service/app-service.ts';
import type { Log } from '../system/log/log.ts';
import type { KeyStore } from './auth/keys.ts';
import { authenticate } from './auth/principal.ts';
import type { TokenStore } from './auth/tokens.ts';
import type { ApiState } from './context.ts';
import { gitRoutes } from './git/http.ts';
import { createKoa } from './koa.ts';
import { keyRoutes, tokenRoutes } from './routes/access.ts';
import { appRoutes, envRoutes, processRoutes } from './routes/apps.ts';
import { domainRoutes } from './routes/domains.ts';
import { logRoutes } from './routes/logs.ts';
import { releaseRoutes } from './routes/releases.ts';
import { holdRoutes, type RunnerInfo, statusRoutes } from './routes/server.ts';

interface ApiOptions {
  service: AppService;
  tokens: TokenStore;
  keys: KeyStore;
  edge: Edge;
  /** adds an event to the history */
  record: (event: Omit<LoggedEvent, 'at'>) => Promise<void>;
  version: string;
  /** returns the URL of the API on TCP */
  url: () => string;
  /** returns information about the runner; null if the runner does not answer */
  runner: () => Promise<RunnerInfo | null>;
  /** true for the unix socket, whose callers need no token */
  local: boolean;
  log: Log;
}

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
};

/** Creates the HTTP API: see docs/api.md. */
export function createApi({
  service,
  tokens,
  keys,
  edge,
  record,
  version,
  url,
  runner,
  local,
  log,
}: ApiOptions): Koa<ApiState> {
  const router = new Router<ApiState>();
  releaseRoutes(router, service);
  processRoutes(router, service);
  envRoutes(router, service);
  logRoutes(router, service);
  appRoutes(router, { service, tokens, keys });
  tokenRoutes(router, tokens);
  keyRoutes(router, keys);
  domainRoutes(router, { service, edge, record, log });
  gitRoutes(router, service);
  holdRoutes(router, service);
  const startedAt = new Date().toISOString();
  const server = () => ({ pid: process.pid, url: url(), version, startedAt });
  statusRoutes(router, { service, server, runner, edge });

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
