import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endStandbys, type WithStandby } from '../../src/runner/end-standbys.ts';
import type { Standby } from '../../src/runner/standby.ts';

const signal = new AbortController().signal;

/** Environments whose generations on standby end at once if they are at rest, and never otherwise. */
function environmentsWith(standbys: Record<string, { until: number; isAtRest: boolean }>) {
  const ended: string[] = [];
  const environments = Object.entries(standbys).map(([name, standby]): WithStandby => {
    const kept: { standby: Standby | undefined } = { standby: standby as Standby };
    return Object.assign(kept, {
      endStandby: () => {
        ended.push(name);
        kept.standby = undefined;
        return standby.isAtRest ? Promise.resolve() : new Promise<void>(() => undefined);
      },
    });
  });
  return { environments, ended };
}

test('generations on standby end while memory is short, those with the least time left first', async () => {
  const { environments, ended } = environmentsWith({
    late: { until: 3, isAtRest: true },
    early: { until: 1, isAtRest: true },
    middle: { until: 2, isAtRest: true },
  });
  await endStandbys(environments, () => ended.length < 2, signal);
  assert.deepEqual(ended, ['early', 'middle']);
});

test('nobody waits for a generation on standby that still answers requests', async () => {
  const { environments, ended } = environmentsWith({
    busy: { until: 1, isAtRest: false },
    idle: { until: 2, isAtRest: true },
  });
  await endStandbys(environments, () => true, signal);
  assert.deepEqual(ended, ['busy', 'idle']);
});
