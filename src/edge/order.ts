/**
 * One order of a certificate at an ACME server, from the account to the chain. A program of its own: see child.ts. It
 * keeps on the disk what it must find again when it is killed, at whatever moment: the account before it is registered,
 * the order as soon as there is one.
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

/** What is told, a line of JSON each. Exactly one `issued` or `failed` is the last. */
export type OrderLine =
  | { say: 'progress'; text: string }
  /** of the authority: an order there is, new or found again */
  | { say: 'order'; url: string; isNew: boolean }
  | { say: 'issued'; pem: string }
  | {
      say: 'failed';
      message: string;
      /** such as `urn:ietf:params:acme:error:rateLimited`; null where the server did not say */
      type: string | null;
      /** seconds; null where it did not say */
      retryAfter: number | null;
    };

interface Account {
  directory: string;
  key: string;
  url: string | null;
}

interface OpenOrder {
  directory: string;
  url: string;
  /** of the certificate that is to come */
  key: string;
}

/** What the server last refused. */
interface Problem {
  type: string | null;
  retryAfter: number | null;
}

let problem: Problem = { type: null, retryAfter: null };

async function order(task: OrderTask): Promise<void> {
  const lock = await takeLock(task.lock);
  try {
    const client = await clientFor(task);
    const { url, key } = await openOrder(client, task);
    const pem = await finish(client, task, url, key);
    tell({ say: 'issued', pem: `${key.trim()}\n${pem.trim()}\n` });
  } finally {
    lock.release();
  }
}

/** One of us at a time; the one before, whose server was killed, ends at once, too. */
async function takeLock(path: string) {
  for (const end = Date.now() + 10_000; ; await sleep(50)) {
    const lock = tryLock(path);
    if (lock !== undefined) return lock;
    if (Date.now() > end) throw new Error('another order is under way');
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
    // How it is asked again and again whether it is done: for about two minutes.
    ...{ backoffAttempts: 16, backoffMin: 1000, backoffMax: 10_000 },
  });
  if (account.url === null) {
    tell({ say: 'progress', text: `registering at ${new URL(directory).host}` });
    await client.createAccount({
      termsOfServiceAgreed: true,
      ...(email !== null && { contact: [`mailto:${email}`] }),
    });
    account.url = client.getAccountUrl();
    await writeJsonAtomic(path, accounts);
  }
  return client;
}

/** The one that is open, else a new one, which is on the disk when this returns. */
async function openOrder(client: acme.Client, task: OrderTask): Promise<OpenOrder> {
  const open = (await readJson(task.openOrder)) as OpenOrder | undefined;
  if (open?.directory === task.directory && (await isOpen(client, open.url))) {
    tell({ say: 'order', url: open.url, isNew: false });
    return open;
  }
  tell({ say: 'progress', text: 'ordering' });
  const key = (await acme.crypto.createPrivateEcdsaKey()).toString();
  const created = await client.createOrder({ identifiers: [{ type: 'dns', value: task.name }] });
  const order = { directory: task.directory, url: created.url, key };
  await writeJsonAtomic(task.openOrder, order);
  tell({ say: 'order', url: order.url, isNew: true });
  return order;
}

/** Whether something can still come of it: one that the server knows no more, or has given up, is over. */
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
      // What was refused once stays so: the next try needs another order.
      if (!(await isOpen(client, url))) await rm(task.openOrder, { force: true });
      throw error;
    }
    order = await client.getOrder({ url } as acme.Order);
  }
  if (order.status === 'ready') {
    tell({ say: 'progress', text: 'asking for the certificate' });
    const [, request] = await acme.crypto.createCsr({ altNames: [task.name] }, key);
    order = await client.finalizeOrder(order, request);
  }
  return client.getCertificate(order);
}

/** Shows the server that the name leads here. */
async function authorize(
  client: acme.Client,
  task: OrderTask,
  authorization: acme.Authorization,
): Promise<void> {
  if (authorization.status === 'valid') return;
  const challenge = authorization.challenges.find(({ type }) => type === 'http-01');
  if (challenge === undefined) throw new Error('the ACME server does not offer to look at a file (http-01)');
  // Comes from outside, and is to be the name of a file.
  if (!/^[A-Za-z0-9_-]{1,256}$/.test(challenge.token))
    throw new Error('the ACME server has sent a token that is none');
  const file = join(task.challenges, challenge.token);
  await writeFileAtomic(file, await client.getChallengeKeyAuthorization(challenge), 0o644);
  try {
    tell({ say: 'progress', text: 'the authority looks whether the name leads here' });
    if (challenge.status === 'pending') await client.completeChallenge(challenge);
    await client.waitForValidStatus(challenge);
  } finally {
    await rm(file, { force: true });
  }
}

/**
 * The package tries again by itself when it is refused, for hours where the server says so: here that is for whoever
 * has started us, who keeps count of it on the disk. Its own answer to a lost connection is a TypeError, too.
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

function tell(line: OrderLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

process.umask(0o022);
noteProblems();
let begun = false;
for await (const line of createInterface({ input: process.stdin })) {
  if (begun) continue;
  begun = true;
  void order(JSON.parse(line) as OrderTask)
    .catch((error: Error) => tell({ say: 'failed', message: error.message, ...problem }))
    .finally(() => process.exit(0));
}
// Whoever has started us is gone.
process.exit(1);
