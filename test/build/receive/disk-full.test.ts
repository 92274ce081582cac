import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { tarball } from '../../support/archive.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

/** Options for a mount namespace, in which any user can mount a small disk. Some machines forbid it. */
const isolate = ['--user', '--map-root-user', '--mount'];
const possible = spawnSync('unshare', [...isolate, 'true']).status === 0;

test('a disk that fills up during an upload has its own error, and the upload leaves nothing', {
  skip: !possible,
}, async (t) => {
  const disk = await temporaryDirectory(t);
  const script = `mount -t tmpfs -o size=1m none "$1" && "$2" "$3" "$1"`;
  const receiver = `${import.meta.dirname}/receive-stdin.ts`;
  const child = spawn('unshare', [...isolate, 'sh', '-c', script, 'sh', disk, process.execPath, receiver]);
  child.stdin.on('error', () => undefined);
  child.stdin.end(
    tarball([
      { path: 'fits', content: 'x' },
      { path: 'large', content: randomBytes(3_000_000) },
    ]),
  );
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  assert.equal(errors, '');
  const { code, message, left } = JSON.parse(output);
  assert.equal(code, 'disk_full');
  assert.match(message, /the disk was full before the archive was unpacked/);
  assert.deepEqual(left, []);
});
