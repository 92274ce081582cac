import * as v from 'valibot';
import { releaseView, releaseViews } from '../../apps/release-view.ts';
import { AppError } from '../../errors/app-error.ts';
import { maxMessage } from '../../git/commit.ts';
import { noCommit, type ReleaseSource } from '../../releases/release.ts';
import { readBuildLog } from '../../service/logs.ts';
import { withoutControls } from '../../system/text/printable.ts';
import { announcedLength, jsonBody, uploadBody } from '../body.ts';
import {
  type ApiContext,
  type ApiOptions,
  environmentIdOf,
  queryFlag,
  queryText,
  wholeNumber,
} from '../context.ts';
import { answerDeploy } from '../deploy-answer.ts';
import type { AddRoute } from '../route.ts';

/** A whole number in a body. @param expected value, for the message */
function whole(expected: string, least: number, most: number) {
  return v.pipe(
    v.number(expected),
    v.integer(expected),
    v.minValue(least, expected),
    v.maxValue(most, expected),
  );
}

const rollbackBody = v.strictObject({
  release: v.optional(
    v.nullable(
      whole(
        'the number of a release, or null for the release that was live before',
        1,
        Number.MAX_SAFE_INTEGER,
      ),
    ),
    null,
  ),
});

const portBody = v.strictObject({
  port: v.nullable(whole('a port from 1 to 65535, or null for the next free one', 1, 65_535)),
  host: v.optional(v.pipe(v.string(), v.ip('a numeric address'))),
  within: v.optional(whole('a time in ms, of at most 10 minutes', 0, 600_000), 60_000),
});

/** Serves releases: upload, redeploy, rollback, list, log. */
export function releaseRoutes(add: AddRoute, { service }: ApiOptions): void {
  add('POST /v1/apps/:app/releases', 'deploy', ['environment', 'noCache', ...commitFields], (ctx) =>
    answerDeploy(ctx, 201, async (onEvent) => {
      const origin = originOf(ctx);
      const body = uploadBody(ctx.req);
      const contentLength = announcedLength(ctx.req);
      try {
        return await service.deploy(
          environmentIdOf(ctx),
          {
            ...{ origin, body, contentLength, mayAddDomains: ctx.state.principal.app === null },
            noCache: queryFlag(ctx, 'noCache', false),
          },
          onEvent,
        );
      } finally {
        body.destroy();
      }
    }),
  );

  add('POST /v1/apps/:app/releases/:number/redeploy', 'deploy', ['environment', 'noCache'], (ctx) =>
    answerDeploy(ctx, 201, (onEvent) =>
      service.redeploy(
        environmentIdOf(ctx),
        { release: numberOf(ctx), noCache: queryFlag(ctx, 'noCache', false) },
        ctx.state.principal.name,
        onEvent,
      ),
    ),
  );

  add('POST /v1/apps/:app/rollback', 'deploy', ['environment'], async (ctx) => {
    const { release } = await jsonBody(ctx, rollbackBody);
    await answerDeploy(ctx, 200, (onEvent) =>
      service.rollback(environmentIdOf(ctx), release, ctx.state.principal.name, onEvent),
    );
  });

  // An app may get any port of the machine, also that of another app that restarts.
  add('POST /v1/apps/:app/port', 'admin:all', ['environment'], async (ctx) => {
    const move = await jsonBody(ctx, portBody);
    await answerDeploy(ctx, 200, (onEvent) =>
      service.movePort(environmentIdOf(ctx), move, ctx.state.principal.name, onEvent),
    );
  });

  add('GET /v1/apps/:app/releases', 'read', ['environment'], async (ctx) =>
    releaseViews(await service.find(environmentIdOf(ctx))),
  );

  add('GET /v1/apps/:app/releases/:number', 'read', ['environment'], async (ctx) =>
    releaseView(await service.find(environmentIdOf(ctx)), numberOf(ctx)),
  );

  add('GET /v1/apps/:app/releases/:number/log', 'read', ['environment'], async (ctx) => {
    ctx.type = 'text/plain; charset=utf-8';
    return readBuildLog(await service.find(environmentIdOf(ctx)), numberOf(ctx));
  });

  add('GET /v1/apps/:app/releases/:number/watched', 'read', ['environment'], async (ctx) =>
    service.watched(environmentIdOf(ctx), numberOf(ctx)),
  );

  add('POST /v1/apps/:app/releases/:number/cancel', 'deploy', ['environment'], (ctx) =>
    service.cancel(environmentIdOf(ctx), numberOf(ctx), ctx.state.principal.name),
  );
}

/** Parameters that describe the commit of an upload. */
const commitFields = ['commit', 'branch', 'author', 'message', 'directory', 'changedFiles'] as const;

/** @throws AppError `bad_request` */
function originOf(ctx: ApiContext): ReleaseSource {
  const commit = queryText(ctx, 'commit') ?? null;
  if (commit !== null && !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(commit)) {
    throw new AppError('bad_request', `invalid commit: "${commit}" (expected a full hash)`);
  }
  const text = (name: string) => withoutControls(queryText(ctx, name)?.slice(0, maxMessage) ?? '') || null;
  // The log has one line for each of these.
  const line = (name: string) => text(name)?.split('\n', 1)[0] || null;
  return {
    ...noCommit,
    kind: 'upload',
    by: ctx.state.principal.name,
    commit,
    branch: line('branch'),
    author: line('author'),
    message: text('message'),
    directory: line('directory'),
    changedFiles: wholeNumber(queryText(ctx, 'changedFiles') ?? '0', 'changedFiles'),
  };
}

function numberOf(ctx: ApiContext): number {
  return wholeNumber(ctx.params['number'] ?? '', 'release');
}
