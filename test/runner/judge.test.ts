import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Before, Buckets, judge } from '../../src/runner/watch/judge.ts';

const limits = { deaths: 2, blocked: 3000, responses: 20, points: 5, times: 3 };
const watchTime = 30_000;
/** interval between two judgements, in ms */
const step = 500;

/** Returns random numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Returns a random number of events, as many on average as expected. */
function poisson(expected: number, random: () => number): number {
  if (expected > 30) {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.max(0, Math.round(expected + Math.sqrt(expected) * normal));
  }
  let product = random();
  let count = 0;
  for (const end = Math.exp(-expected); product > end; product *= random()) count += 1;
  return count;
}

interface Behaviour {
  /** requests per second; the rate of each half second varies by this factor */
  rate: number;
  variation?: number;
  /** share of responses with an error */
  errorShare?: number;
  /** bursts in which all responses are errors: time between two, and duration, in ms */
  bursts?: { every: number; length: number };
  workers?: number;
  /** mean time between two deaths of each worker, in ms */
  deathEvery?: number;
  /** mean time between two blocks of an event loop, and their longest duration, in ms */
  blocks?: { every: number; longest: number };
}

/** Simulates a generation in steps. */
function* generation(
  { rate, variation = 1, errorShare = 0, bursts, workers = 2, deathEvery, blocks }: Behaviour,
  random: () => number,
) {
  let burstUntil = 0;
  for (let now = step; ; now += step) {
    const mayBurst = bursts !== undefined && now > burstUntil + bursts.length;
    if (mayBurst && random() < step / bursts.every) burstUntil = now + bursts.length;
    const factor = variation ** (2 * random() - 1);
    const total = poisson((rate * factor * step) / 1000, random);
    const errors = now < burstUntil ? total : poisson(total * errorShare, random);
    const isBlocked = blocks !== undefined && random() < (workers * step) / blocks.every;
    yield {
      now,
      responses: { total, errors: Math.min(total, errors) },
      deaths: deathEvery === undefined ? 0 : poisson((workers * step) / deathEvery, random),
      silence: isBlocked ? random() * blocks.longest : 0,
    };
  }
}

/** Returns what is known of a generation that was active for a time: its responses are sampled for 1 s in 30 s. */
function historyOf(behaviour: Behaviour, activeFor: number, random: () => number): Before {
  const before: Before = { activeFor, deaths: 0, worstDelay: 0, responses: { total: 0, errors: 0 } };
  for (const { now, responses, deaths, silence } of generation(behaviour, random)) {
    if (now > activeFor) return before;
    before.deaths += deaths;
    before.worstDelay = Math.max(before.worstDelay, silence);
    if (now > watchTime && now % 30_000 > 1000) continue;
    before.responses.total += responses.total;
    before.responses.errors += responses.errors;
  }
  return before;
}

/** Returns the time in ms at which a release is judged to be worse; undefined if it is not. */
function watch(behaviour: Behaviour, before: Before, random: () => number): number | undefined {
  const watched = { activeFor: 0, workers: behaviour.workers ?? 2, deaths: 0, silence: 0 };
  const buckets = new Buckets(0);
  for (const { now, responses, deaths, silence } of generation(behaviour, random)) {
    if (now > watchTime) return undefined;
    buckets.add(now, responses);
    watched.activeFor = now;
    watched.deaths += deaths;
    watched.silence = silence;
    if (judge({ ...watched, recent: buckets.recent }, before, limits) !== undefined) return now;
  }
  return undefined;
}

const minute = 60_000;
const noisy: Record<string, Behaviour> = {
  'a calm app': { rate: 100 },
  'an app with 1 % errors': { rate: 50, errorShare: 0.01 },
  'an app with 4 % errors and little traffic': { rate: 3, errorShare: 0.04 },
  'an app with 10 % errors': { rate: 200, errorShare: 0.1 },
  'an app with 10 % errors and little traffic': { rate: 1, errorShare: 0.1 },
  'an app with traffic in bursts': { rate: 40, variation: 8, errorShare: 0.03 },
  'an app whose errors come in bursts of 2 s': { rate: 60, bursts: { every: minute, length: 2000 } },
  'an app with rare failures of 5 s': { rate: 60, bursts: { every: 24 * 60 * minute, length: 5000 } },
  'an app that dies once a minute': { rate: 10, deathEvery: 2 * minute },
  'an app that dies every ten minutes': { rate: 10, deathEvery: 20 * minute },
  'an app that dies once an hour': { rate: 10, deathEvery: 120 * minute },
  'an app whose event loop stands still for up to 3 s': {
    rate: 10,
    blocks: { every: minute, longest: 3000 },
  },
};

for (const [index, [name, behaviour]] of Object.entries(noisy).entries()) {
  test(`at most one of 1,000 deploys is a false alarm: ${name}`, (t) => {
    const random = randomFrom(index + 1);
    const deploys = 4000;
    let alarms = 0;
    for (let history = 0; history < deploys / 10; history += 1) {
      // Releases are live for 5 minutes to an hour.
      const before = historyOf(behaviour, minute * (5 + 55 * random()), random);
      for (let deploy = 0; deploy < 10; deploy += 1)
        if (watch(behaviour, before, random) !== undefined) alarms += 1;
    }
    t.diagnostic(`${alarms} of ${deploys}`);
    assert.ok(alarms <= deploys / 1000);
  });
}

test('a release that fails at one of three requests is found within 4 s, also if nothing is known of the one before', () => {
  const random = randomFrom(99);
  const unknown = historyOf({ rate: 0 }, 0, random);
  const known = historyOf({ rate: 50, errorShare: 0.01 }, minute, random);
  for (const before of [unknown, known]) {
    const found = Array.from({ length: 500 }, () => watch({ rate: 100, errorShare: 0.4 }, before, random));
    assert.ok(found.filter((at) => at !== undefined && at <= 4000).length >= 490);
  }
});

test('deaths and a blocked event loop count at once, and limits of 0 ignore them', () => {
  const calm: Before = { activeFor: minute, deaths: 0, worstDelay: 10, responses: { total: 0, errors: 0 } };
  const fine = { activeFor: 6000, workers: 2, deaths: 1, silence: 2900, recent: [] };
  assert.equal(judge(fine, calm, limits), undefined);
  assert.equal(judge({ ...fine, deaths: 2 }, calm, limits), '2 workers have died within 6.0 s of the switch');
  assert.equal(judge({ ...fine, workers: 1 }, calm, limits), 'a worker has died within 6.0 s of the switch');
  assert.match(
    judge({ ...fine, silence: 3100 }, calm, limits) ?? '',
    /^the event loop of a worker has stood/,
  );
  const off = { ...limits, deaths: 0, blocked: 0, responses: 0 };
  assert.equal(judge({ ...fine, deaths: 9, silence: 9000 }, calm, off), undefined);
  // The release before has died as often, and its event loop has stood still for as long.
  const same = { ...calm, deaths: 20, worstDelay: 2500 };
  assert.equal(judge({ ...fine, deaths: 2, silence: 4000 }, same, limits), undefined);
});
