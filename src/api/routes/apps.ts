import * as v from 'valibot';
import { record } from '../../config/field-types.ts';
import type { EnvironmentId } from '../../config/paths.ts';
import type { NodeUpdate } from '../../deploy/node-update.ts';
import { AppError } from '../../errors/app-error.ts';
import { type ListedVariable, listVariables } from '../../service/variables.ts';
import { includes, mayAccess } from '../auth/principal.ts';
import { jsonBody } from '../body.ts';
import { type ApiOptions, environmentIdOf, queryFlag, queryText } from '../context.ts';
import type { AddRoute } from '../route.ts';

/** App or environment that was removed, with the names of the tokens and keys of the app that were removed with it. */
export interface DestroyedApp {
  app: string;
  /** null if the caller asked to remove all environments of the app */
  environment: string | null;
  tokens: string[];
  keys: string[];
}

export type { ListedVariable };

/** Update of the Node.js of an environment. */
export interface UpdatedNode extends EnvironmentId, NodeUpdate {}

const changesBody = record(
  v.string(),
  v.nullable(
    v.union(
      [
        v.string(),
        v.strictObject({
          value: v.string(),
          plain: v.exactOptional(v.boolean()),
          build: v.exactOptional(v.boolean()),
        }),
      ],
      'text, an object with value, plain and build, or null to remove it',
    ),
  ),
);

/** Shown instead of a value that the caller may not see. */
const hidden = '••••••';

const scaleBody = v.strictObject({
  workers: v.nullable(
    v.pipe(
      v.number('a number of workers, or null for the number of the release'),
      v.integer('a whole number of workers'),
      v.minValue(1, 'at least 1 (to run none, stop the app)'),
      v.maxValue(64, 'at most 64'),
    ),
  ),
});

/** Serves apps: list, status, removal, variables, worker processes. */
export function appRoutes(add: AddRoute, { service, tokens, keys }: ApiOptions): void {
  add('GET /v1/apps', 'read', [], async (ctx) =>
    (await service.list()).filter(({ name }) => mayAccess(ctx.state.principal, name)),
  );

  add('GET /v1/apps/:app', 'read', ['environment'], (ctx) => service.status(environmentIdOf(ctx)));

  add('DELETE /v1/apps/:app', 'admin', ['environment', 'confirm'], async (ctx) => {
    const { app } = environmentIdOf(ctx);
    const environment = queryText(ctx, 'environment') ?? null;
    const name = environment === null ? app : `${app}@${environment}`;
    if (queryText(ctx, 'confirm') !== name) {
      const what = environment === null ? `all environments of ${app}` : name;
      throw new AppError('confirmation_required', `this call removes ${what} for good`, {
        hint: `Confirm with ?confirm=${name}`,
      });
    }
    const destroyed: DestroyedApp = { app, environment, tokens: [], keys: [] };
    await service.destroy({ app, environment }, ctx.state.principal.name, async (isLast) => {
      // Tokens and keys are for an app: while it has another environment, they stay.
      if (!isLast) return;
      destroyed.tokens = await tokens.removeOf(app);
      destroyed.keys = await keys.removeOf(app);
    });
    return destroyed;
  });

  // Callers that may deploy see values, since deployed code does. Others see names.
  add('GET /v1/apps/:app/env', 'read', ['environment'], async (ctx) => {
    const variables = await (await service.find(environmentIdOf(ctx))).variables();
    if (includes(ctx.state.principal.scope, 'deploy')) return variables;
    return Object.fromEntries(Object.keys(variables).map((name) => [name, hidden]));
  });

  add('GET /v1/apps/:app/variables', 'read', ['environment', 'show', 'all'], async (ctx) => {
    const { scope } = ctx.state.principal;
    return listVariables(await service.find(environmentIdOf(ctx)), {
      mayKnow: includes(scope, 'deploy'),
      show: queryFlag(ctx, 'show', false),
      all: queryFlag(ctx, 'all', false),
    });
  });

  add('PATCH /v1/apps/:app/env', 'deploy', ['environment', 'restart'], async (ctx) => {
    const changes = await jsonBody(ctx, changesBody);
    const restart = queryFlag(ctx, 'restart', true);
    return service.changeVariables(environmentIdOf(ctx), changes, { restart, by: ctx.state.principal.name });
  });

  add('POST /v1/apps/:app/scale', 'deploy', ['environment'], async (ctx) => {
    const { workers } = await jsonBody(ctx, scaleBody);
    return service.scale(environmentIdOf(ctx), workers, ctx.state.principal.name);
  });

  add('POST /v1/apps/:app/node', 'deploy', ['environment'], async (ctx) => {
    const id = environmentIdOf(ctx);
    return { ...id, ...(await service.updateNode(id, ctx.state.principal.name)) } satisfies UpdatedNode;
  });

  add('GET /v1/apps/:app/cache', 'read', ['environment'], (ctx) => service.kept(environmentIdOf(ctx)));

  add('DELETE /v1/apps/:app/cache', 'deploy', ['environment'], (ctx) =>
    service.clearKept(environmentIdOf(ctx), ctx.state.principal.name),
  );

  add('GET /v1/node', 'read', [], async (ctx) =>
    (await service.nodes()).map((node) => ({
      ...node,
      uses: node.uses.filter(({ app }) => mayAccess(ctx.state.principal, app)),
    })),
  );

  add('POST /v1/apps/:app/restart', 'deploy', ['environment', 'worker'], (ctx) => {
    const process = queryText(ctx, 'worker');
    const [id, by] = [environmentIdOf(ctx), ctx.state.principal.name];
    return process === undefined
      ? service.changeRunState('restart', id, by)
      : service.restartProcess(id, process, by);
  });

  for (const verb of ['stop', 'start'] as const) {
    add(`POST /v1/apps/:app/${verb}`, 'deploy', ['environment'], (ctx) =>
      service.changeRunState(verb, environmentIdOf(ctx), ctx.state.principal.name),
    );
  }
}
