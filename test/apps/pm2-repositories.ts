import assert from 'node:assert/strict';
import { exec } from 'node:child_process';
import { access, cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { Checkout } from '../support/git.ts';
import { type Answer, installPm2, Pm2, type Pm2Process, whyNoPm2 } from '../support/pm2.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';
import { type Pm2App, pm2Apps } from './pm2-apps.ts';

/** URL of the repositories, each at `OWNER/NAME`; or a directory of clones, for a machine without access to it. */
const origin = process.env['SLUICE_TEST_REPOSITORIES'] ?? 'https://github.com';
const chosen = new RegExp(process.env['SLUICE_TEST_APPS'] ?? '');

/** Processes with the same name. */
interface Group {
  /** name of the app in the file, as a name of Sluice; `web` for the workers */
  name: string;
  /** variables of each process; under PM2 only those of the file, and the instance number */
  processes: Record<string, string>[];
  /** name of the variable with the instance number, under PM2 */
  instanceVar?: string;
}

/** Processes and answers of an app while it runs, and how it ends. */
interface Behavior {
  groups: Group[];
  answers: Record<string, Answer>;
  /** names of the groups with a process that did not end by itself */
  killed: string[];
}

const sluice = await startSluice(wholeFile);
const tools = await temporaryDirectory(wholeFile);
let program: Promise<string> | undefined;
const runs = pm2Apps.filter(({ refusal }) => refusal === undefined);

test('of public apps with a file of PM2, at least 13 of 15 run as they are', () => {
  assert.ok(pm2Apps.length >= 15, `${pm2Apps.length} apps`);
  assert.ok(runs.length >= (pm2Apps.length * 13) / 15, `${runs.length} of ${pm2Apps.length}`);
});

const rows: string[][] = [];

for (const app of pm2Apps.filter(({ repository }) => chosen.test(repository))) {
  const promise = app.refusal === undefined ? 'runs as under PM2' : 'is rejected with the next step';
  test(`${app.repository} ${promise}, pushed as it is: ${app.shows}`, async (t) => {
    const missing = whyNoPm2();
    if (missing !== undefined) return t.skip(missing);
    const checkout = await Checkout.create(t);
    const source = `${origin}/${app.repository}`;
    const fetched = await checkout.try('fetch', '--quiet', '--depth=1', source, app.commit);
    if (fetched.code !== 0) return t.skip(`cannot be fetched: ${fetched.output.trim()}`);
    await checkout.git('checkout', '--quiet', 'FETCH_HEAD');
    const name = nameOf(app.repository.replace(/^.*\//, ''));
    t.after(() => sluice.call('DELETE', `/v1/apps/${name}?confirm=${name}`));
    const startedAt = Date.now();
    const push = () => checkout.try('push', sluice.gitUrl(name), 'FETCH_HEAD:refs/heads/main');
    let { code, output } = await push();
    for (let again = 0; again < 3 && code !== 0 && app.mayFail?.test(output); again += 1)
      ({ code, output } = await push());
    const seconds = `${Math.round((Date.now() - startedAt) / 1000)} s`;
    const outcome = [app.repository, seconds];
    rows.push(outcome);
    if (app.refusal !== undefined) {
      outcome.push('rejected');
      assert.notEqual(code, 0, output);
      return assert.match(output, app.refusal);
    }
    assert.equal(code, 0, output);
    t.diagnostic(output);
    const { node, observed } = await underSluice(app, name);
    program ??= installPm2(tools);
    const expected = await underPm2(t, app, { program: await program, node, directory: checkout.directory });
    outcome.push(`PM2: ${describe(expected)}`, `Sluice: ${describe(observed)}`);
    assertSame(observed, expected);
    const compared = expected.groups.map(({ name, processes }) => `${name}: ${namesOf(processes).join(' ')}`);
    outcome.push(`same variables: ${compared.join(', ')}`);
  });
}

after(() => {
  for (const row of rows) console.log(row.join('\t'));
});

/** Starts the app with a real PM2, from a copy of its repository, observes it, and stops it. */
async function underPm2(
  t: TestContext,
  app: Pm2App,
  { program, node, directory: repository }: { program: string; node: string; directory: string },
): Promise<Behavior> {
  const directory = join(await temporaryDirectory(t), nameOf(app.repository));
  await cp(repository, directory, { recursive: true, verbatimSymlinks: true });
  await prepare(app, directory);
  const pm2 = await Pm2.start(t, program, node);
  await pm2.call(['start', app.file, '--env', 'production'], directory);
  const processes = await waitFor(
    async () => {
      const list = await pm2.list();
      return list.length > 0 && list.every(({ isOnline, age }) => isOnline && age > settled) && list;
    },
    { what: 'all apps online', timeout: 60_000, interval: 500 },
  ).catch(async (error: Error) => {
    const list = JSON.stringify(await pm2.list(), ['name', 'isOnline', 'restarts', 'mode']);
    throw new Error(`${error.message}: ${list}\n${await pm2.output()}`);
  });
  const groups = Object.values(Object.groupBy(processes, ({ name }) => name)).map((same) =>
    groupOfPm2(app, same as Pm2Process[]),
  );
  const answers = await answersOf(app, async (path) => {
    const port = app.port ?? (await pm2.ports())[0];
    assert.ok(port !== undefined, 'no app listens');
    return await pm2.get(port, path);
  });
  await pm2.call(['stop', 'all'], directory);
  return {
    groups: sorted(groups),
    answers,
    killed: (await pm2.killed()).map((name) => groupName(app, name)),
  };
}

/** Milliseconds after which a process that runs is taken to have started. */
const settled = 2000;

/** Installs and builds the app, as its author does on a server. */
async function prepare({ prepare: commands }: Pm2App, directory: string): Promise<void> {
  for (const command of commands ?? [await installCommand(directory)]) {
    const env = { ...process.env, npm_config_audit: 'false', npm_config_fund: 'false' };
    await promisify(exec)(command, { cwd: directory, env, maxBuffer: 64 * 1024 * 1024 });
  }
}

async function installCommand(directory: string): Promise<string> {
  const hasLock = await access(join(directory, 'package-lock.json')).then(
    () => true,
    () => false,
  );
  return hasLock ? 'npm ci' : 'npm install --no-package-lock';
}

function groupOfPm2(app: Pm2App, processes: Pm2Process[]): Group {
  const [first] = processes;
  assert.ok(first !== undefined);
  return {
    name: groupName(app, first.name),
    processes: processes.map(({ instance, variables }) => ({ ...variables, [first.instanceVar]: instance })),
    instanceVar: first.instanceVar,
  };
}

/** Observes the app under Sluice, and stops it. @returns also the path of the Node.js that runs the app */
async function underSluice(app: Pm2App, name: string): Promise<{ node: string; observed: Behavior }> {
  const groups = await waitFor(() => groupsOfSluice(name), { what: 'all processes of the app' });
  const { url } = await sluice.status(name);
  const answers = await answersOf(app, async (path) => {
    const answer = await fetch(url + path, { redirect: 'manual', headers: { connection: 'close' } });
    return { status: answer.status, text: await answer.text() };
  });
  const path = groups[0]?.processes[0]?.['PATH'] ?? '';
  await sluice.call('POST', `/v1/apps/${name}/stop`, {});
  const { logs } = sluice.paths.environment({ app: name, environment: 'production' });
  const killed = (await readFile(join(logs, 'app.log'), 'utf8')).matchAll(
    / \d+ (\S+)\.\d+ sys .*(?:not finished|killed)/g,
  );
  return {
    node: await nodeIn(path),
    observed: { groups, answers, killed: [...new Set([...killed].map(([, group = '']) => group))] },
  };
}

/** Returns the processes of an app, once all have run for a while. */
async function groupsOfSluice(name: string): Promise<Group[] | undefined> {
  const { state, workers, background, wanted } = await sluice.status(name);
  const isSettled = (startedAt: string | null) =>
    startedAt !== null && Date.now() - Date.parse(startedAt) > settled;
  if (!['running', 'stopped'].includes(state) || workers.length !== wanted) return undefined;
  if (![...workers, ...background].every(({ startedAt }) => isSettled(startedAt))) return undefined;
  const all = [
    ...workers.map(({ pid }) => ({ name: 'web', pid })),
    ...background.map(({ name, pid }) => ({ name, pid: pid ?? 0 })),
  ];
  const read = await Promise.all(all.map(async (one) => ({ ...one, variables: await variablesOf(one.pid) })));
  if (read.some(({ variables }) => variables === undefined)) return undefined;
  const groups = Object.entries(Object.groupBy(read, ({ name }) => name)).map(([name, same = []]) => ({
    name,
    processes: same.map(({ variables }) => variables ?? {}),
  }));
  return sorted(groups);
}

/** Returns the variables of a process; undefined if it has ended. */
async function variablesOf(pid: number): Promise<Record<string, string> | undefined> {
  const text = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => undefined);
  if (text === undefined || text === '') return undefined;
  const pairs = text.split('\0').filter((pair) => pair.includes('='));
  return Object.fromEntries(pairs.map((pair) => [pair.split('=', 1)[0], pair.slice(pair.indexOf('=') + 1)]));
}

/** Returns the path of the first Node.js in a search path. */
async function nodeIn(path: string): Promise<string> {
  for (const directory of path.split(':')) {
    const program = join(directory, 'node');
    const isThere = await access(program).then(
      () => true,
      () => false,
    );
    if (isThere) return program;
  }
  throw new Error(`no Node.js in ${path}`);
}

async function answersOf(
  { answers = {} }: Pm2App,
  ask: (path: string) => Promise<Answer>,
): Promise<Record<string, Answer>> {
  const found: Record<string, Answer> = {};
  for (const [path, pattern] of Object.entries(answers)) {
    found[path] = await waitFor(
      async () => {
        const answer = await ask(path).catch(() => undefined);
        return answer !== undefined && pattern.test(answer.text) && answer;
      },
      { what: `${pattern} at ${path}`, timeout: 30_000, interval: 200 },
    );
  }
  return found;
}

/** Checks that the app has the same processes, variables and answers, and ends as gracefully. */
function assertSame(observed: Behavior, expected: Behavior): void {
  const counts = ({ groups }: Behavior) => groups.map(({ name, processes }) => [name, processes.length]);
  assert.deepEqual(counts(observed), counts(expected), 'processes');
  for (const { name, processes, instanceVar = '' } of expected.groups) {
    const ours = observed.groups.find((group) => group.name === name)?.processes ?? [];
    const compared = namesOf(processes);
    const found = byInstance(ours, instanceVar).map((variables) => pick(variables, compared));
    const wanted = byInstance(processes, instanceVar).map((variables) => pick(variables, compared));
    assert.deepEqual(found, wanted, `variables of ${name}`);
  }
  const statuses = ({ answers }: Behavior) =>
    Object.fromEntries(Object.entries(answers).map(([path, { status }]) => [path, status]));
  assert.deepEqual(statuses(observed), statuses(expected), 'answers');
  const stuck = observed.killed.filter((name) => !expected.killed.includes(name));
  assert.deepEqual(stuck, [], 'processes that end by themselves under PM2');
}

/** Returns the names of the variables to compare: Sluice assigns the port. */
function namesOf(processes: Record<string, string>[]): string[] {
  return Object.keys(processes[0] ?? {}).filter((name) => name !== 'PORT');
}

function pick(variables: Record<string, string>, names: string[]): Record<string, string | undefined> {
  return Object.fromEntries(names.map((name) => [name, variables[name]]));
}

function byInstance(processes: Record<string, string>[], name: string): Record<string, string>[] {
  return processes.toSorted((a, b) => Number(a[name]) - Number(b[name]));
}

/** Returns a summary for the table. */
function describe({ groups, killed }: Behavior): string {
  return groups
    .map(({ name, processes }) => `${name} ×${processes.length}${killed.includes(name) ? ' (killed)' : ''}`)
    .join(', ');
}

function groupName({ web }: Pm2App, name: string): string {
  return name === web ? 'web' : nameOf(name);
}

/** Returns a name that Sluice accepts. */
function nameOf(text: string): string {
  const name = text.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  return name.replace(/^[^a-z]+/, 'app-');
}

function sorted(groups: Group[]): Group[] {
  return groups.toSorted((a, b) => a.name.localeCompare(b.name));
}
