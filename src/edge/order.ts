/**
 * Orders one certificate from an ACME server. `child.ts` runs this program. The program may be killed at any time, so it
 * writes its state to the disk: the account before the registration, and the order as soon as it exists.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import acme from 'acme-client';
import { readJson, writeFileAtomic, writeJsonAtomic } from '../system/fs/files.ts';
import { tryLock } from '../system/fs/lock.ts';

export interface OrderTask {
  name: string;
  /** URL of the ACME server's directory */
  directory: string;
  email: string | null;
  /** paths */
  account: string;
  openOrder: string;
  challenges: string;
  lock: string;
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

async function order(task: OrderTask): Promise<void> {
  const lock = await takeLock(task.lock);
  try {
    const client = await clientFor(task);
    const { url, key } = await openOrder(client, task);
    const pem = await finish(client, task, url, key);
    emit({ event: 'issued', pem: `${key.trim()}\n${pem.trim()}\n` });
  } finally {
    lock.release();
  }
}

/** Takes the lock of all orders. The order of a killed server ends soon, since its input has ended. */
async function takeLock(path: string) {
  for (const end = Date.now() + 10_000; ; await sleep(50)) {
    const lock = tryLock(path);
    if (lock !== undefined) return lock;
    if (Date.now() > end) throw new Error('another order is in progress');
  }
}

async function clientFor({ directory, email, account: path }: OrderTask): Promise<acme.Client> {
  const accounts = ((await readJson(path)) ?? []) as Account[];
  let account = accounts.find((each) => each.directory === directory);
  if (account === undefined) {
    const key = (await acme.crypto.createPrivateEcdsaKey()).toString();
    account = { directory, key, url: null };
    accounts.push(account);
    await writeJsonAtomic(path, accounts);
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
    await writeJsonAtomic(path, accounts);
  }
  return client;
}

/** Returns the open order, or else a new one, which is on the disk by then. */
async function openOrder(client: acme.Client, task: OrderTask): Promise<OpenOrder> {
  const open = (await readJson(task.openOrder)) as OpenOrder | undefined;
  if (open?.directory === task.directory && (await isOpen(client, open.url))) {
    emit({ event: 'order', url: open.url, isNew: false });
    return open;
  }
  emit({ event: 'progress', text: 'ordering' });
  const key = (await acme.crypto.createPrivateEcdsaKey()).toString();
  const created = await client.createOrder({ identifiers: [{ type: 'dns', value: task.name }] });
  const order = { directory: task.directory, url: created.url, key };
  await writeJsonAtomic(task.openOrder, order);
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

async function finish(client: acme.Client, task: OrderTask, url: string, key: string): Promise<string> {
  let order = await client.getOrder({ url } as acme.Order);
  if (order.status === 'pending') {
    try {
      for (const authorization of await client.getAuthorizations(order))
        await authorize(client, task, authorization);
    } catch (error) {
      // A refused order stays refused: the next try needs a new one.
      if (!(await isOpen(client, url))) await rm(task.openOrder, { force: true });
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
async function authorize(
  client: acme.Client,
  task: OrderTask,
  authorization: acme.Authorization,
): Promise<void> {
  if (authorization.status === 'valid') return;
  const challenge = authorization.challenges.find(({ type }) => type === 'http-01');
  if (challenge === undefined) throw new Error('the ACME server does not offer the http-01 challenge');
  // The token becomes the name of a file.
  if (!/^[A-Za-z0-9_-]{1,256}$/.test(challenge.token))
    throw new Error('the ACME server sent an invalid token');
  const file = join(task.challenges, challenge.token);
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

process.umask(0o022);
noteProblems();
let hasBegun = false;
for await (const line of createInterface({ input: process.stdin })) {
  if (hasBegun) continue;
  hasBegun = true;
  void order(JSON.parse(line) as OrderTask)
    .catch((error: Error) => emit({ event: 'failed', message: error.message, ...problem }))
    .finally(() => process.exit(0));
}
// The server has ended.
process.exit(1);
