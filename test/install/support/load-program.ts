import { existsSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { Load } from '../../support/load.ts';

/** Runs on a guest: keeps a port busy until a file is there, then prints what has become of the requests. */
const [port, clients, end] = process.argv.slice(2);
const load = new Load(Number(port), Number(clients));
while (!existsSync(String(end))) await setTimeout(50);
const { samples, errors } = await load.stop();
const times = samples.map((sample) => sample.end - sample.start).sort((a, b) => a - b);
console.log(
  JSON.stringify({ answered: samples.length, errors: errors.slice(0, 20), slowest: times.at(-1) ?? 0 }),
);
