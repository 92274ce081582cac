import * as v from 'valibot';
import { isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { formatBytes, formatDuration } from '../system/text/amounts.ts';
import type { ApiContext } from './context.ts';

const maxBytes = 1024 ** 2;

/** Time for a whole body to arrive, in ms. */
const arrivalTimeout = 60_000;

/** The app that a token or a key is bound to. */
export const onlyApp = v.optional(
  v.nullable(v.pipe(v.string(), v.check(isName, 'the name of an app, such as "shop", or null'))),
  null,
);

/**
 * The JSON body of a request, checked; an empty one counts as `{}`.
 * @param timeout time for the whole body to arrive, in ms
 * @throws AppError `bad_request` with every fault
 */
export async function jsonBody<Schema extends v.GenericSchema>(
  ctx: ApiContext,
  schema: Schema,
  timeout = arrivalTimeout,
): Promise<v.InferOutput<Schema>> {
  const result = v.safeParse(schema, parse(await text(ctx, timeout)));
  if (result.success) return result.output;
  const faults = result.issues.map(describe);
  throw new AppError('bad_request', `the body is not right: ${faults.join('; ')}`, {
    hint: 'docs/api.md says what each call takes.',
  });
}

/** In our words where the schema has none of its own: the validator's mean nothing to whoever calls the API. */
function describe(issue: v.BaseIssue<unknown>): string {
  const place = v.getDotPath(issue) ?? 'the whole';
  if (issue.type === 'strict_object' && issue.expected === 'never') return `${place}: there is no such field`;
  return `${place}: ${issue.message.startsWith('Invalid') ? `${issue.expected} is expected` : issue.message}`;
}

async function text(ctx: ApiContext, timeout: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Not `for await`, which would destroy the request, and the connection with it, on the way out.
  const arrived = new Promise<void>((resolve, reject) => {
    const brokeOff = (cause?: Error) => reject(new AppError('bad_request', 'the body broke off', { cause }));
    // If the client has disconnected already, no event follows.
    if (ctx.req.destroyed) brokeOff();
    ctx.req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) chunks.push(chunk);
      else reject(new AppError('bad_request', `the body is larger than ${formatBytes(maxBytes)}`));
    });
    ctx.req.on('end', resolve);
    ctx.req.on('error', brokeOff);
  });
  const { timedOut } = await withDeadline(arrived, timeout);
  if (timedOut)
    throw new AppError('bad_request', `The body did not arrive within ${formatDuration(timeout)}.`);
  return Buffer.concat(chunks).toString('utf8');
}

function parse(body: string): unknown {
  if (body.trim() === '') return {};
  try {
    return JSON.parse(body);
  } catch {
    // The parser's message quotes the body, which may hold the values of variables.
    throw new AppError('bad_request', 'The body is not JSON.');
  }
}
