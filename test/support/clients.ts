import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import type { TestRunner } from './runner.ts';

/** Opens kept-alive connections, and waits for an answer of release 1 on each. */
export async function connectClients(t: TestContext, { port }: TestRunner, count = 8): Promise<Socket[]> {
  const clients = Array.from({ length: count }, () => connect(port, '127.0.0.1').setEncoding('latin1'));
  t.after(() => {
    for (const client of clients) client.destroy();
  });
  for (const client of clients) assert.equal(await ask(client), '1');
  return clients;
}

/** Sends a request. @returns a header of the answer; by default the release that has answered */
export async function ask(client: Socket, header = 'x-mark'): Promise<string | undefined> {
  client.write('GET / HTTP/1.1\r\nhost: app\r\n\r\n');
  return headerOf(await nextText(client), header);
}

export function headerOf(answer: string, name: string): string | undefined {
  return new RegExp(`^${name}: (.*)\r$`, 'm').exec(answer)?.[1];
}

export async function nextText(client: Socket): Promise<string> {
  const ended = once(client, 'close').then(() => {
    throw new Error('the connection was closed');
  });
  const [text] = (await Promise.race([once(client, 'data'), ended])) as [string];
  return text;
}
