import { once } from 'node:events';
import type { AppStatus } from '../../apps/status.ts';
import type { EdgeFault } from '../../edge/desired-hosts.ts';
import type { DomainView } from '../../edge/domain.ts';
import type { LimitsReport, RunnerUsage } from '../../protocol/runner.ts';
import { mayAccess } from '../auth/principal.ts';
import { refuseBody } from '../body.ts';
import type { ApiOptions } from '../context.ts';
import type { AddRoute } from '../route.ts';

interface ServerInfo {
  pid: number;
  /** of the API, such as `http://127.0.0.1:8700` */
  url: string;
  version: string;
  /** ISO 8601, UTC */
  startedAt: string;
}

export interface RunnerInfo extends RunnerUsage {
  pid: number;
  /** limits that the runner can set in the kernel */
  limits: LimitsReport;
}

/** Status of the server, its runner and all apps. */
export interface ServerStatus {
  server: ServerInfo;
  /** null if the runner does not answer; apps run all the same */
  runner: RunnerInfo | null;
  apps: AppStatus[];
  /** host names of the API */
  domains: DomainView[];
  edge: {
    /** reason why nginx is not configured as desired, or null */
    fault: EdgeFault;
  };
}

/** Serves the status of the server, and the lock of a backup. */
export function serverRoutes(add: AddRoute, { service, url, version, runner, edge }: ApiOptions): void {
  const startedAt = new Date().toISOString();

  add('GET /v1/status', 'read', [], async (ctx) => {
    const [apps, runnerInfo] = await Promise.all([service.list(), runner()]);
    return {
      server: { pid: process.pid, url: url(), version, startedAt },
      runner: runnerInfo,
      apps: apps.filter(({ name }) => mayAccess(ctx.state.principal, name)),
      domains: edge.list().filter(({ app }) => app === null),
      edge: { fault: edge.fault },
    } satisfies ServerStatus;
  });

  // Sluice moves and removes no files while the client reads the answer. If the client or the server ends, the lock ends, and the
  // client sees that.
  add('POST /v1/hold', 'admin:all', [], async (ctx) => {
    const { req, res } = ctx;
    refuseBody(req);
    using _ = await service.freezeFiles(ctx.state.principal.name);
    // The client may have disconnected meanwhile.
    if (res.destroyed) return;
    ctx.respond = false;
    res.writeHead(200, { ...res.getHeaders(), 'content-type': 'text/plain; charset=utf-8' });
    res.write('held\n');
    await once(res, 'close');
  });
}
