import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AvailableNodes, chooseNode } from '../../../src/build/node-version/choose.ts';

/** Some versions of the registry, in its order. */
const registry =
  `4.0.0-rc.1 16.20.2 18.0.0 18.12.0 18.20.8 19.8.1 20.11.1 20.20.2 21.7.3 22.11.0 22.23.5 23.11.1
  24.0.0 24.21.0 24.22.3 25.9.0 26.8.2 26.9.0 26.12.1`.split(/\s+/);

const nodes: AvailableNodes = { own: '26.8.2', list: async () => registry };
const unlisted = {
  own: '26.8.2',
  list: () => assert.fail('the list is read although the own version is the choice'),
};

/** Returns the choice for texts of `.nvmrc` and `engines`, or only the former. */
async function choose(nvmrc: string, engines?: string, available = nodes) {
  const requests = [
    { from: '.nvmrc', text: nvmrc },
    ...(engines === undefined ? [] : [{ from: 'engines', text: engines }]),
  ];
  const { version, notices } = await chooseNode(requests, available);
  return [version, ...notices.map(({ code }) => code)].join(' ');
}

test('an app that accepts the Node.js of Sluice gets it, and the list of versions is not read', async () => {
  const { version, own, reason } = await chooseNode([], unlisted);
  assert.deepEqual(
    { version, own, reason },
    { version: '26.8.2', own: true, reason: 'the app asks for no version' },
  );
  for (const text of `* >=14 >=18 26 26.x v26 26.8 ^26.0.0 18||20||>=22 >=20.0.0 node latest stable current lts/* LTS/* lts
    26.8.2 v26.8.2 =26.8.2 lts/lithium`.split(/\s+/)) {
    assert.equal(await choose(text, undefined, unlisted), '26.8.2', text);
  }
  for (const text of ['', ' >= 18.0.0 ', '^20 || >=22', '18.0.0 - 26', ' v26 ', '>=18 <30']) {
    assert.equal(await choose(text, undefined, unlisted), '26.8.2', text);
  }
});

test('LTS lines are those that are known, not all with an even number', async () => {
  const from = (...more: string[]) => ({ own: '26.8.2', list: async () => ['26.8.2', ...more] });
  assert.equal(await choose('>=27', undefined, from('28.1.0', '29.0.0')), '29.0.0');
  assert.equal(await choose('>=26.14', undefined, from('26.14.0', '28.1.0')), '26.14.0');
});

test('other requests get the newest version that they allow, of an LTS line if there is one', async () => {
  const expected = {
    22: '22.23.5',
    v22: '22.23.5',
    '22.x': '22.23.5',
    '^22.1': '22.23.5',
    '22.11': '22.11.0',
    'v20.11.1': '20.11.1',
    '~20.11.0': '20.11.1',
    '18 || 20 || 22': '22.23.5',
    '>=20 <26': '24.21.0',
    '>=18.12 <19': '18.20.8',
    '<=20': '20.20.2',
    '19': '19.8.1',
    '>=21 <22': '21.7.3',
    'lts/iron': '20.20.2',
    'lts-iron': '20.20.2',
    'lts/Hydrogen': '18.20.8',
    jod: '22.23.5',
    'lts/-1': '24.21.0',
    'lts/-2': '22.23.5',
  };
  for (const [text, version] of Object.entries(expected)) assert.equal(await choose(text), version, text);
});

test('versions with a known fault are avoided, unless the app accepts no other', async () => {
  assert.equal(await choose('24'), '24.21.0');
  assert.equal(await choose('24.22.3'), '24.22.3 node_version_faulty');
  assert.equal(await choose('>=24.22 <25'), '24.22.3 node_version_faulty');
  assert.equal(await choose('>=26.9'), '26.12.1 node_version_faulty');
});

test('an app for older versions than there are gets the oldest line, with a notice', async () => {
  for (const text of ['14', '14.x', 'v16.20.2', '>=12 <17', 'lts/fermium', '0.10', '^18.0.0 <18.12.0']) {
    assert.equal(await choose(text), '18.20.8 node_version_replaced', text);
  }
});

test('an exact version that does not exist is replaced by the newest of its line, with a notice', async () => {
  assert.equal(await choose('20.99.0'), '20.20.2 node_version_replaced');
  assert.equal(await choose('26.99.1'), '26.8.2 node_version_replaced');
});

test('a request that no version satisfies is an error that names versions', async () => {
  for (const text of ['>=99', '27', '30.1.0', '~20.99', '14.x || 99']) {
    await assert.rejects(choose(text), {
      code: 'unsupported_node_version',
      message: `.nvmrc asks for ${text}: there is no such Node.js`,
      hint: 'Set "node" in sluice.json, such as "node": "26". The newest versions that Sluice can install: 18.20.8, 19.8.1, 20.20.2, 21.7.3, 22.23.5, 23.11.1, 24.22.3, 25.9.0, 26.12.1.',
    });
  }
});

test('the first request decides, and others narrow it where they can', async () => {
  assert.equal(await choose('>=20', '^20 || ^22'), '22.23.5');
  assert.equal(await choose('lts/*', '20.x'), '20.20.2');
  assert.equal(await choose('20', '>=18'), '20.20.2');
  assert.equal(await choose('20', '>=22'), '20.20.2 node_request_ignored');
  assert.equal(await choose('26', '22'), '26.8.2 node_request_ignored');
  assert.equal(await choose('14', '>=16'), '18.20.8 node_version_replaced');
});

test('the reason names the requests that exclude the Node.js of Sluice', async () => {
  const requests = [
    { from: '.nvmrc', text: '>=18' },
    { from: 'engines', text: '<25' },
    { from: 'volta', text: '20.x' },
  ];
  const { version, reason } = await chooseNode(requests, nodes);
  assert.equal(`${version}: ${reason}`, '20.20.2: engines asks for <25, and volta asks for 20.x');
});

test('an invalid request is a notice', async () => {
  for (const text of [
    'twenty',
    '20 or newer',
    'iojs',
    'lts/unobtainium',
    'constructor',
    '-1',
    '^'.repeat(300),
    '>'.repeat(150),
  ]) {
    assert.equal(await choose(text), '26.8.2 node_request_ignored', text);
  }
  assert.equal(await choose('twenty', '20'), '20.20.2 node_request_ignored');
});

test('without a list, the choice is among the versions that were known', async () => {
  const offline = { own: '26.8.2', list: async () => [] };
  assert.equal(await choose('22', undefined, offline), '22.23.5');
  assert.equal(await choose('24.x', undefined, offline), '24.21.0');
  assert.equal(await choose('20.11.1', undefined, offline), '20.11.1');
  assert.equal(await choose('~18.17', undefined, offline), '18.17.1');
  assert.equal(await choose('20.11.2', undefined, offline), '20.20.2 node_version_replaced');
});

test('the choice stays in a major version if there is one', async () => {
  const of = async (major: number, ...texts: string[]) => {
    const requests = texts.map((text) => ({ from: '.nvmrc', text }));
    const { version, own } = await chooseNode(requests, { ...nodes, major });
    return `${version} ${own}`;
  };
  assert.equal(await of(22), '22.23.5 false');
  assert.equal(await of(26), '26.8.2 true');
  assert.equal(await of(24), '24.21.0 false');
  assert.equal(await of(20, '>=18 <26'), '20.20.2 false');
  assert.equal(await of(18, '14'), '18.20.8 false');
  assert.equal(await of(20, '20.11.1'), '20.11.1 false');
});

test('a hostile request takes no time', async () => {
  const before = process.cpuUsage();
  const texts = [
    '1'.repeat(199),
    '1.'.repeat(99),
    '||'.repeat(99),
    ' '.repeat(150_000),
    '- '.repeat(99),
    '>=1 '.repeat(49),
  ];
  for (const text of texts) await choose(text);
  const { user } = process.cpuUsage(before);
  assert.ok(user < 1e6, `${user} µs`);
});
