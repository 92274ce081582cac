import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs on a guest: begins a request, an upload and a WebSocket at an app of `test/fixtures/apps/lasting.cjs`, lets them end when
 * the file is there, and prints each answer, or why there was none.
 */
const [port = '', file = ''] = process.argv.slice(2);
const address = `127.0.0.1:${port}`;

const ended = async () => {
  while (!existsSync(file)) await sleep(50);
};

async function get(): Promise<string> {
  return (await fetch(`http://${address}/?file=${file}`)).text();
}

function upload(): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(`http://${address}/`, { method: 'POST', headers: { expect: '100-continue' } });
    sent.on('continue', () => void ended().then(() => sent.end('all')));
    sent.on('error', reject);
    sent.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve(body)).on('error', reject);
    });
    sent.flushHeaders();
  });
}

function websocket(): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${address}`);
    socket.onopen = () => void ended().then(() => socket.send('last'));
    socket.onmessage = ({ data }) => resolve(String(data));
    socket.onclose = () => reject(new Error('the connection was closed'));
  });
}

const all = [get(), upload(), websocket()].map((answer) => answer.catch((error: Error) => error.message));
console.log(JSON.stringify(await Promise.all(all)));
process.exit();
