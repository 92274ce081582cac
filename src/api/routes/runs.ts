import * as v from 'valibot';
import { jsonBody } from '../body.ts';
import { type ApiOptions, environmentIdOf } from '../context.ts';
import type { AddRoute } from '../route.ts';
import { commandFields, commandOf, serveRun } from '../run-session.ts';
import { acceptWebSocket, assertWebSocket } from '../upgrade.ts';

/** Detached command that has been started. */
export interface StartedRun {
  id: string;
  release: number;
}

const detachedBody = v.strictObject(commandFields);

/** Serves one-off commands: with the connection of the caller, or detached. */
export function runRoutes(add: AddRoute, { service }: ApiOptions): void {
  const { oneOffs } = service;

  add('GET /v1/apps/:app/run', 'run', ['environment'], async (ctx) => {
    const id = environmentIdOf(ctx);
    const by = ctx.state.principal.name;
    assertWebSocket(ctx);
    // Before the answer, so that the caller gets the status of the error.
    await oneOffs.check(id);
    const socket = await acceptWebSocket(ctx);
    if (socket === undefined) return;
    await serveRun(socket, (request, reader, signal) => oneOffs.run(id, request, by, reader, signal));
  });

  add('POST /v1/apps/:app/runs', 'run', ['environment'], async (ctx) => {
    const run = commandOf(await jsonBody(ctx, detachedBody));
    const { promise, resolve, reject } = Promise.withResolvers<StartedRun>();
    const reader = {
      started: ({ id, release }: StartedRun) => resolve({ id, release }),
      output: () => undefined,
    };
    const request = { run, terminal: null, detached: true };
    const never = new AbortController().signal;
    const ended = oneOffs.run(environmentIdOf(ctx), request, ctx.state.principal.name, reader, never);
    ended.catch(reject);
    ctx.status = 201;
    return promise;
  });

  add('GET /v1/apps/:app/runs', 'read', ['environment'], (ctx) => oneOffs.list(environmentIdOf(ctx)));

  add('DELETE /v1/apps/:app/runs/:id', 'run', ['environment'], async (ctx) => {
    await oneOffs.end(environmentIdOf(ctx), ctx.params['id'] ?? '', ctx.state.principal.name);
    ctx.status = 204;
  });
}
