import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { planDeploy } from '../../../src/build/plan.ts';
import { findModuleState } from '../../../src/build/start-command/module-state.ts';
import { resolveWorkers } from '../../../src/build/start-command/workers.ts';
import { appSettings, writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

/** Sources, and the variable that keeps data between requests; undefined if none does. */
const sources: [source: string, variable: string | undefined][] = [
  ["const todos = [];\napp.post('/', (q, s) => {\n  todos.push(q.body);\n});", 'todos'],
  ["const todos = [];\napp.post('/', (q, s) => { todos.push(q.body); s.end(); });", 'todos'],
  [
    'let todos = [{ id: 1 }];\nfunction remove(id) {\n  todos = todos.filter((each) => each.id !== id);\n}',
    'todos',
  ],
  ['const users: User[] = [];\nexport const add = (user: User) => users.push(user);', 'users'],
  [
    'export const rooms = new Map<string, Room>();\nexport function join(id: string) {\n  rooms.set(id, new Room());\n}',
    'rooms',
  ],
  ['const clients = new Set();\nserver.on("connection", function (c) { clients.add(c); });', 'clients'],
  ['const sessions = {};\nfunction login(id) {\n\tsessions[id] = { at: Date.now() };\n}', 'sessions'],
  ['var hits = 0;\nrequire("http").createServer((q, s) => s.end(String(++hits) + hits++)).listen(1)', 'hits'],
  ['let nextId = 1;\nfunction create() {\n  return { id: nextId++ };\n}', 'nextId'],
  ['let count = 0;\nfunction up() {\n  count += 1;\n}', 'count'],
  [
    '@Injectable()\nexport class CatsService {\n  private readonly cats: Cat[] = [];\n  create(cat: Cat) {\n    this.cats.push(cat);\n  }\n}',
    'cats',
  ],
  ['const $all = [];\nfunction add(x) {\n  $all.push(x);\n}', '$all'],
  // Constants, and variables that the module fills while it loads.
  ['const roles = ["admin", "user"];\nfunction is(role) {\n  return roles.includes(role);\n}', undefined],
  ['const routes = [];\nroutes.push("/a");\nfor (const r of routes) app.get(r);', undefined],
  ['const config = { port: 1 };\nfunction load() {\n  config.port = 2;\n}', undefined],
  ['const sum = 0;\nconst total = sum + 1;', undefined],
  ['const items = [];\nfunction a() {\n  const items = [];\n  items.push(1);\n}', undefined],
  ['function a() {\n  const items = [];\n  items.push(1);\n  return items;\n}', undefined],
  ['const items = [];\nfunction a(b) {\n  return b.items.push(1);\n}', undefined],
  [
    'const items = [];\nfunction a() {\n  return items.length === 0 || items[0] === 1 || items == 1;\n}',
    undefined,
  ],
  ['class Query {\n  parts = [];\n  add(part) {\n    this.parts.push(part);\n  }\n}', undefined],
  ['let server;\nfunction start() {\n  server = app.listen(1);\n}', undefined],
];

for (const [source, variable] of sources) {
  test(`${JSON.stringify(source)} keeps ${variable ?? 'no data'} between requests`, () => {
    assert.equal(findModuleState(source), variable);
  });
}

test('"auto" is one worker if a file that the entry imports keeps data in memory, and the reason names file and variable', async (t) => {
  const directory = await temporaryDirectory(t);
  const reason = async (files: Record<string, string | object>) => {
    await writeTree(directory, files as Parameters<typeof writeTree>[1]);
    return (await resolveWorkers(appSettings(), directory, 4)).reason;
  };
  const manifest = { scripts: { start: 'NODE_ENV=production node dist/main.js' } };
  const store = 'const todos: string[] = [];\nexport const add = (todo: string) => todos.push(todo);';
  assert.equal(
    await reason({ 'package.json': manifest, 'src/store/todos.ts': store, 'src/main.ts': '' }),
    null,
  );
  assert.match(
    (await reason({
      'src/main.ts': "import { add } from './routes.js';",
      'src/routes.ts': "export * from '@/store/todos';",
    })) ?? '',
    /^1 worker, not 4: src\/store\/todos\.ts keeps data in the variable "todos", which other workers do not see\. .*"workers" in sluice\.json/,
  );
  assert.match(
    (await reason({ 'src/routes.ts': "import '~/todos';", 'app/todos.ts': store })) ?? '',
    /^1 worker, not 4: app\/todos\.ts keeps data/,
  );
  await writeTree(directory, { 'src/routes.ts': "import '@/store/todos';" });
  assert.match(
    (await reason({ 'src/store/todos.ts': "import { DatabaseSync } from 'node:sqlite';" })) ?? '',
    /^1 worker, not 4: src\/store\/todos\.ts uses node:sqlite/,
  );
  for (const opens of ['net.createServer(onTunnel)', "dgram.createSocket('udp4')"])
    assert.match(
      (await reason({ 'src/store/todos.ts': `const server = ${opens};` })) ?? '',
      /^1 worker, not 4: src\/store\/todos\.ts opens another port/,
    );
  assert.equal(await reason({ 'src/store/todos.ts': 'const server = http.createServer(app);' }), null);
});

/** Modules of an app whose object keeps data between requests, or does not, and the field. */
const objects: [db: string, app: string, field: string | undefined][] = [
  [
    'module.exports = class DB {\n  constructor() {\n    this.db = {};\n  }\n  add(id, file) {\n    this.db[id] = file;\n  }\n};',
    "const Db = require('./db');\nconst db = new Db('data');",
    'db',
  ],
  [
    'export class Store {\n  #all = new Map();\n  add(id, item) {\n    this.#all.set(id, item);\n  }\n}\nexport default new Store();',
    "import store from './db.js';",
    '#all',
  ],
  [
    'module.exports = class {\n  constructor() {\n    this.all = [];\n  }\n  add(item) {\n    this.all.push(item);\n  }\n};',
    "const DB = require('./db');\nexports.db = new DB();",
    'all',
  ],
  // An object for each request, and a collection that does not change.
  [
    'module.exports = class Query {\n  constructor() {\n    this.parts = [];\n  }\n  add(part) {\n    this.parts.push(part);\n  }\n};',
    "const Query = require('./db');\nfunction search() {\n  const query = new Query();\n  return query;\n}",
    undefined,
  ],
  [
    'module.exports = class Roles {\n  constructor() {\n    this.all = [];\n  }\n  has(role) {\n    return this.all.includes(role);\n  }\n};',
    "const Roles = require('./db');\nconst roles = new Roles();",
    undefined,
  ],
];
for (const [db, app, field] of objects) {
  test(`${JSON.stringify(db)} keeps ${field ?? 'no data'} between requests of ${JSON.stringify(app)}`, async (t) => {
    const directory = await temporaryDirectory(t);
    await writeTree(directory, { 'package.json': {}, 'db.js': db, 'server.js': `require('./db');\n${app}` });
    const { reason } = await resolveWorkers(appSettings(), directory, 4);
    const expected =
      field && `1 worker, not 4: db.js keeps data in "this.${field}", which other workers do not see`;
    assert.equal(reason?.split('. ')[0], expected);
  });
}

/** Framework, and a file that it runs for requests although no file imports it. */
const routes: [packages: string, file: string][] = [
  ['nuxt', 'server/api/pageview.get.ts'],
  ['nitropack', 'routes/index.ts'],
  ['next', 'app/api/views/route.ts'],
  ['next', 'src/pages/api/views.js'],
  ['@sveltejs/kit', 'src/routes/views/+server.ts'],
  ['@sveltejs/kit', 'src/routes/+page.server.ts'],
  ['astro', 'src/pages/api/views.ts'],
  ['@solidjs/start', 'src/routes/api/views.ts'],
  ['@react-router/node', 'app/routes/views.tsx'],
];
for (const [name, file] of routes) {
  test(`"auto" is one worker if ${file} of a ${name} app keeps data in memory`, async (t) => {
    const directory = await temporaryDirectory(t);
    const text = 'let views = 0;\nexport default function count() {\n  views++;\n}\n';
    const reason = async () => (await resolveWorkers(appSettings(), directory, 4)).reason;
    await writeTree(directory, { 'package.json': { devDependencies: { other: '1' } }, [file]: text });
    assert.equal(await reason(), null);
    await writeTree(directory, { 'package.json': { devDependencies: { [name]: '1' } } });
    assert.equal(
      (await reason())?.split('. ')[0],
      `1 worker, not 4: ${file} keeps data in the variable "views", which other workers do not see`,
    );
  });
}

test('"auto" is one worker also if the start is a link, or a large file that a build has written', async (t) => {
  const directory = await temporaryDirectory(t);
  const state = 'const all = [];\nexports.add = (each) => {\n  all.push(each);\n};\n';
  const reason = async (start: string) => {
    await writeTree(directory, { 'package.json': { scripts: { start } } });
    return (await resolveWorkers(appSettings(), directory, 4)).reason?.split('. ')[0];
  };
  await writeTree(directory, {
    'www.js': "require('./store');",
    'store.js': state,
    'bin/other.js': '',
    'dist/server.js': `//${'x'.repeat(70_000)}`,
    'src/server.js': state,
  });
  await symlink('../www.js', join(directory, 'bin/www.js'));
  const found = (file: string) =>
    `1 worker, not 4: ${file} keeps data in the variable "all", which other workers do not see`;
  assert.equal(await reason('node bin/www.js'), found('store.js'));
  assert.equal(await reason('node dist/server.js'), found('src/server.js'));
});

test('no link and no path out of the app is read, and a hostile app takes little time', async (t) => {
  const directory = await temporaryDirectory(t);
  const state = 'const all = [];\nfunction f() {\n  all.push(1);\n}\n';
  await writeTree(directory, {
    'outside.js': state,
    'app/server.js': "require('../outside.js'); require('./server.js');",
  });
  const reason = async () => (await resolveWorkers(appSettings(), `${directory}/app`, 4)).reason;
  assert.equal(await reason(), null);
  const names = Array.from({ length: 3000 }, (_, index) => `let v${index} = [ ${'['.repeat(20)}\n`).join('');
  const imports = Array.from({ length: 3000 }, (_, index) => `import './m${index}.js'\n`).join('');
  await writeTree(directory, {
    'app/server.js': `${imports}${names}`,
    ...Object.fromEntries(
      Array.from({ length: 150 }, (_, index) => [`app/m${index}.js`, ` ${'v1[ '.repeat(2000)}\n${names}`]),
    ),
  });
  const time = async () => {
    const start = process.cpuUsage();
    await reason();
    const { user, system } = process.cpuUsage(start);
    return user + system;
  };
  const took = await time();
  assert.ok(took < 2_000_000, `${took} µs`);
  const absent = Array.from({ length: 4500 }, (_, at) => `from"@/x${at}"\n`).join('');
  await writeTree(directory, {
    'app/server.js': absent,
    ...Object.fromEntries(Array.from({ length: 8 }, (_, at) => [`app/src/m${at}.js`, absent])),
  });
  const tookForAbsent = await time();
  assert.ok(tookForAbsent < 2_000_000, `${tookForAbsent} µs`);
});

test('"auto" is one worker for a Next.js app that changes cached pages, unless its cache is shared', async (t) => {
  const directory = await temporaryDirectory(t);
  const reason = async (files: Parameters<typeof writeTree>[1]) => {
    await writeTree(directory, files);
    return (await resolveWorkers(appSettings(), directory, 4)).reason;
  };
  const page = 'export default async function Page() { return null; }';
  assert.equal(
    await reason({ 'package.json': { dependencies: { next: '16' } }, 'app/page.tsx': page }),
    null,
  );
  const action = "'use server';\nexport async function add() {\n  revalidatePath('/');\n}";
  assert.match(
    (await reason({ 'src/app/posts/actions.ts': action })) ?? '',
    /^1 worker, not 4: src\/app\/posts\/actions\.ts calls revalidatePath, and each worker has a cache of pages of its own\./,
  );
  assert.equal(await reason({ 'next.config.mjs': "export default { cacheHandler: './redis.mjs' };" }), null);
});

test('the search begins at the file that the start runs, also without an extension, or at "main" and "bin"', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, {
    'bin/run': "#!/usr/bin/env node\nrequire('../lib/store');\n",
    'lib/store.js': 'const used = new Set();\nmodule.exports = (token) => {\n  used.add(token);\n};\n',
    'app.js': '',
  });
  const nodes = { own: '26.8.2', list: async () => [] };
  const manifests = [
    { scripts: { start: 'node ./bin/run' } },
    { scripts: { start: './bin/run' } },
    { main: 'lib/store.js' },
    { main: 'lib/store.js', bin: 'bin/run' },
  ];
  for (const manifest of manifests) {
    await writeTree(directory, { 'package.json': manifest });
    const { workers } = await planDeploy(directory, { nodes, cores: 4 });
    assert.match(workers.reason ?? '', /lib\/store\.js keeps data in the variable "used"/);
  }
});
