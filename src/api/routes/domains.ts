import * as v from 'valibot';
import { writeHistory } from '../../apps/history.ts';
import { behindNginxNotices } from '../../apps/release-view.ts';
import { defaultEnvironment, type EnvironmentId, isName } from '../../config/paths.ts';
import type { AddedDomain, DomainView } from '../../edge/domain.ts';
import { AppError, errorBody } from '../../errors/app-error.ts';
import { hasWorkers } from '../../releases/release.ts';
import { mayAccess } from '../auth/principal.ts';
import { jsonBody } from '../body.ts';
import type { ApiOptions } from '../context.ts';
import type { AddRoute } from '../route.ts';

const named = v.pipe(v.string(), v.check(isName, 'a name, such as "shop"'));

const addBody = v.strictObject({
  name: v.string('a host name, such as "shop.example.com"'),
  app: v.optional(v.nullable(named), null),
  environment: v.optional(named, defaultEnvironment),
  certificate: v.optional(
    v.union(
      [v.picklist(['acme', 'self-signed']), v.strictObject({ certificate: v.string(), key: v.string() })],
      '"acme", "self-signed", or {"certificate", "key"} with PEM text',
    ),
    'acme',
  ),
});

/** Serves the host names of apps and of this API. */
export function domainRoutes(add: AddRoute, { service, edge, paths, log }: ApiOptions): void {
  add('GET /v1/domains', 'read', [], (ctx) =>
    edge.list().filter(({ app }) => mayAccess(ctx.state.principal, app ?? '')),
  );

  add('GET /v1/domains/:name', 'read:all', [], (ctx) => edge.get(ctx.params['name'] ?? ''));

  add('POST /v1/domains', 'admin:all', [], async (ctx) => {
    const { name, app, environment, certificate } = await jsonBody(ctx, addBody);
    const id = app === null ? null : { app, environment };
    const by = ctx.state.principal.name;
    const domain = await recorded('domain add', { name, id, by }, async () => {
      if (id !== null) await assertPort(id);
      return edge.add({ name, environment: id, certificate });
    });
    ctx.status = 201;
    return { ...domain, notices: await noticesOf(id, domain) } satisfies AddedDomain;
  });

  add('DELETE /v1/domains/:name', 'admin:all', [], async (ctx) => {
    const { name, app, environment } = edge.get(ctx.params['name'] ?? '');
    const id = app === null || environment === null ? null : { app, environment };
    await recorded('domain remove', { name, id, by: ctx.state.principal.name }, () => edge.remove(name));
    ctx.status = 204;
  });

  /** @throws AppError `without_port` if the live release of an app has no workers, which answer requests; `app_not_found` */
  async function assertPort(id: EnvironmentId): Promise<void> {
    const environment = await service.find(id);
    // Nothing is known of a release that cannot be read: `noticesOf` logs the error.
    const live = await environment.liveRelease().catch(() => undefined);
    if (live === undefined || hasWorkers(live)) return;
    throw new AppError('without_port', `${environment.name} has no port: it runs only background processes`, {
      hint: 'Deploy a release with workers, and add the domain again.',
    });
  }

  /** Returns the notices about a new domain. If the live release cannot be read, logs the error and returns none. */
  async function noticesOf(id: EnvironmentId | null, domain: DomainView): Promise<AddedDomain['notices']> {
    if (id === null) return [];
    try {
      const live = await (await service.find(id)).liveRelease();
      return behindNginxNotices(live?.protocol ?? 'http', domain);
    } catch (error) {
      log.error('live release not read for a new domain', { ...id, domain: domain.name, error });
      return [];
    }
  }

  /** Logs a change and adds it to the history. */
  async function recorded<T>(
    action: string,
    { name, id, by }: { name: string; id: EnvironmentId | null; by: string },
    work: () => Promise<T>,
  ): Promise<T> {
    const event = { action, by, domain: name, ...(id ?? { app: '*', environment: '*' }) };
    try {
      const result = await work();
      log.info(action, event);
      await writeHistory({ paths, log }, { ...event, outcome: 'done' });
      return result;
    } catch (error) {
      await writeHistory({ paths, log }, { ...event, outcome: 'failed', code: errorBody(error).code });
      throw error;
    }
  }
}
