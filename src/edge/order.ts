/**
 * Orders one certificate from an ACME server. `child.ts` runs this program. The program may be killed at any time, so it
 * writes its state to the disk: the account before the registration, and the order as soon as it exists.
 */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import acme from 'acme-client';
import { EdgePaths } from '../config/paths.ts';
import { readJson, writeFileAtomic, writeJsonAtomic } from '../system/fs/files.ts';
import { tryLock } from '../system/fs/lock.ts';

export interface OrderTask {
  name: string;
  /** URL of the ACME server's directory */
  directory: string;
  email: string | null;
  /** directory of `EdgePaths` */
  edge: string;
}

/** Line of the program's output, in JSON. The last line is `issued` or `failed`. */
export type OrderLine =
  | { event: 'progress'; text: string }
  /** an order of the ACME server, new or found again */
  | { event: 'order'; url: string; isNew: boolean }
  | { event: 'issued'; pem: string }
  | ({ event: 'failed'; message: string } & Problem);

interface Account {
  directory: string;
  key: string;
  url: string | null;
}

interface OpenOrder {
  directory: string;
  url: string;
  /** private key of the certificate */
  key: string;
}

/** Last refusal of the ACME server. */
interface Problem {
  /** such as `urn:ietf:params:acme:error:rateLimited`; null without a refusal */
  type: string | null;
  /** seconds; null if the server did not set a time */
  retryAfter: number | null;
}

let problem: Problem = { type: null, retryAfter: null };

process.umask(0o022);
const input = createInterface({ input: process.stdin });
// The server has ended.
input.once('close', () => process.exit(1));
const [line] = (await once(input, 'line')) as [string];
const task = JSON.parse(line) as OrderTask;
const edge = new EdgePaths(task.edge);
const orderFile = edge.openOrder(task.name);
noteProblems();
try {
  emit({ event: 'issued', pem: await order() });
} catch (error) {
  emit({ event: 'failed', message: (error as Error).message, ...problem });
}
process.exit(0);

/** @returns PEM of the key and the chain */
async function order(): Promise<string> {
  // The order of a killed server ends soon, since its input has ended.
  for (const end = Date.now() + 10_000; tryLock(edge.orderLock) === undefined; await sleep(50))
    if (Date.now() > end) throw new Error('another order is in progress');
  const client = await clientFor(task);
  const { url, key } = await openOrder(client);
  const pem = await finish(client, url, key);
  return `${key.trim()}\n${pem.trim()}\n`;
}

async function clientFor({ directory, email }: OrderTask): Promise<acme.Client> {
  const accounts = ((await readJson(edge.account)) ?? []) as Account[];
  let account = accounts.find((each) => each.directory === directory);
  if (account === undefined) {
    const key = (await acme.crypto.createPrivateEcdsaKey()).toString();
    account = { directory, key, url: null };
    accounts.push(account);
    await writeJsonAtomic(edge.account, accounts);
  }
  const client = new acme.Client({
    directoryUrl: directory,
    accountKey: account.key,
    ...(account.url !== null && { accountUrl: account.url }),
    // Polls for about two minutes.
    ...{ backoffAttempts: 16, backoffMin: 1000, backoffMax: 10_000 },
  });
  if (account.url === null) {
    emit({ event: 'progress', text: `registering at ${new URL(directory).host}` });
    await client.createAccount({
      termsOfServiceAgreed: true,
      ...(email !== null && { contact: [`mailto:${email}`] }),
    });
    account.url = client.getAccountUrl();
    await writeJsonAtomic(edge.account, accounts);
  }
  return client;
}

/** Returns the open order, or else a new one, which is on the disk by then. */
async function openOrder(client: acme.Client): Promise<OpenOrder> {
  const open = (await readJson(orderFile)) as OpenOrder | undefined;
  if (open?.directory === task.directory && (await isOpen(client, open.url))) {
    emit({ event: 'order', url: open.url, isNew: false });
    return open;
  }
  emit({ event: 'progress', text: 'ordering' });
  const key = (await acme.crypto.createPrivateEcdsaKey()).toString();
  const created = await client.createOrder({ identifiers: [{ type: 'dns', value: task.name }] });
  const order = { directory: task.directory, url: created.url, key };
  await writeJsonAtomic(orderFile, order);
  emit({ event: 'order', url: order.url, isNew: true });
  return order;
}

/** Returns false for an order that failed, or that the ACME server does not know any more. */
async function isOpen(client: acme.Client, url: string): Promise<boolean> {
  try {
    return (await client.getOrder({ url } as acme.Order)).status !== 'invalid';
  } catch (error) {
    if (problem.type === null || /serverInternal|rateLimited/.test(problem.type)) throw error;
    return false;
  }
}

async function finish(client: acme.Client, url: string, key: string): Promise<string> {
  let order = await client.getOrder({ url } as acme.Order);
  if (order.status === 'pending') {
    try {
      for (const authorization of await client.getAuthorizations(order))
        await authorize(client, authorization);
    } catch (error) {
      // A refused order stays refused: the next try needs a new one.
      if (!(await isOpen(client, url))) await rm(orderFile, { force: true });
      throw error;
    }
    order = await client.getOrder({ url } as acme.Order);
  }
  if (order.status === 'ready') {
    emit({ event: 'progress', text: 'requesting the certificate' });
    const [, request] = await acme.crypto.createCsr({ altNames: [task.name] }, key);
    order = await client.finalizeOrder(order, request);
  }
  return client.getCertificate(order);
}

/** Proves to the ACME server that the name resolves to this machine. */
async function authorize(client: acme.Client, authorization: acme.Authorization): Promise<void> {
  if (authorization.status === 'valid') return;
  const challenge = authorization.challenges.find(({ type }) => type === 'http-01');
  if (challenge === undefined) throw new Error('the ACME server does not offer the http-01 challenge');
  // The token becomes the name of a file.
  if (!/^[A-Za-z0-9_-]{1,256}$/.test(challenge.token))
    throw new Error('the ACME server sent an invalid token');
  const file = join(edge.challenges, challenge.token);
  await writeFileAtomic(file, await client.getChallengeKeyAuthorization(challenge), 0o644);
  try {
    emit({ event: 'progress', text: 'the authority checks the name' });
    if (challenge.status === 'pending') await client.completeChallenge(challenge);
    await client.waitForValidStatus(challenge);
  } finally {
    await rm(file, { force: true });
  }
}

/**
 * Replaces the package's own retries, which may last hours: the server retries, and counts failures on the disk. The
 * package also reports a lost connection as a TypeError.
 */
function noteProblems(): void {
  const { interceptors } = acme.axios;
  interceptors.response.clear();
  interceptors.response.use(null, (error) => {
    const { response } = error;
    if (response === undefined)
      throw new Error(`the ACME server cannot be reached: ${error.message || error.code}`);
    const refused = response.status >= 400;
    const seconds = Number(response.headers['retry-after']);
    problem = {
      type: refused ? String(response.data?.type ?? `HTTP ${response.status}`) : null,
      retryAfter: refused && seconds > 0 ? seconds : null,
    };
    return response;
  });
}

function emit(line: OrderLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
