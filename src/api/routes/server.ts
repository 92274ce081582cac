import { once } from 'node:events';
import type { Router } from '@koa/router';
import type { AppStatus } from '../../apps/status.ts';
import type { EdgeFault } from '../../edge/desired-hosts.ts';
import type { DomainView } from '../../edge/domain.ts';
import type { Edge } from '../../edge/edge.ts';
import type { LimitsReport, RunnerUsage } from '../../protocol/runner.ts';
import type { AppService } from '../../service/app-service.ts';
import { mayAccess, need, needAllApps } from '../auth/principal.ts';
import { refuseBody } from '../body.ts';
import { type ApiState, takes } from '../context.ts';

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
  /** which it can have the kernel keep */
  limits: LimitsReport;
}

/** Everything at one look. */
export interface ServerStatus {
  server: ServerInfo;
  /** null where it cannot be reached just now: apps go on answering all the same */
  runner: RunnerInfo | null;
  apps: AppStatus[];
  /** host names that lead to the API */
  domains: DomainView[];
  edge: {
    /** why nginx does not do what it should; null where it does, or has nothing to */
    fault: EdgeFault;
  };
}

interface StatusSources {
  service: AppService;
  server: () => ServerInfo;
  runner: () => Promise<RunnerInfo | null>;
  edge: Edge;
}

export function statusRoutes(
  router: Router<ApiState>,
  { service, server, runner, edge }: StatusSources,
): void {
  router.get('/v1/status', need('read'), takes(), async (ctx) => {
    const [apps, runnerInfo] = await Promise.all([service.list(), runner()]);
    ctx.body = {
      server: server(),
      runner: runnerInfo,
      apps: apps.filter(({ name }) => mayAccess(ctx.state.principal, name)),
      domains: edge.list().filter(({ app }) => app === null),
      edge: { fault: edge.fault },
    } satisfies ServerStatus;
  });
}

/**
 * For whoever copies what is on the disk: nothing is moved or removed there for as long as the answer is listened to. So
 * whatever becomes of the caller, or of us, nothing stays held, and the caller knows when it is no more.
 */
export function holdRoutes(router: Router<ApiState>, service: AppService): void {
  router.post('/v1/hold', needAllApps('admin'), takes(), async (ctx) => {
    const { req, res } = ctx;
    refuseBody(req);
    using _ = await service.hold(ctx.state.principal.name);
    // Gone while it waited.
    if (res.destroyed) return;
    ctx.respond = false;
    res.writeHead(200, { ...res.getHeaders(), 'content-type': 'text/plain; charset=utf-8' });
    res.write('held\n');
    await once(res, 'close');
  });
}
