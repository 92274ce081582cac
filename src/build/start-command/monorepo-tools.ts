import type { Word } from '../../releases/words.ts';
import { enterMember, membersAround } from './members.ts';
import { nx } from './nx.ts';
import { NeedsShell, sortWords } from './options.ts';
import { type CommandSource, changeDirectory, type Trail } from './trail.ts';
import type { Behind, Wrapper } from './wrappers.ts';

/** Tools that run scripts of workspace members. Sluice runs the script of the one member that is named. */
export const monorepoTools: Record<string, Wrapper> = { turbo, nx, lerna };

const ofTurbo =
  '--filter -F --scope --cwd --concurrency --cache-dir --cache --env-mode --log-order --log-prefix --output-logs --team --token --api --ui';

/** Follows `turbo run start --filter=web`: https://turborepo.com/docs/reference/run */
async function turbo(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const { values, names, rest } = sortWords(words, ofTurbo);
  for (const path of values('--cwd')) changeDirectory(trail, path, source);
  const [task, ...others] = names[0] === 'run' ? names.slice(1) : names;
  if (task === undefined || others.length > 0) throw new NeedsShell('turbo runs several tasks');
  const [, owner, script = task] = /^(.+)#(.+)$/.exec(task) ?? [];
  // `//` is the top of the workspace.
  if (owner === '//') {
    trail.directory = (await membersAround(trail.project, trail.directory)).workspace || '.';
  } else {
    const selectors = owner === undefined ? values('--filter', '-F', '--scope') : [owner];
    await enterMember(trail, source, selectors, script);
  }
  return { script, args: rest };
}

const ofLerna = '--scope --ignore --concurrency --npm-client --since --loglevel --log-level';

/** Follows `lerna run start --scope=web` and `lerna exec --scope web -- node server.js`: https://lerna.js.org/docs */
async function lerna(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const { values, names, rest } = sortWords(words, ofLerna);
  const [command, ...others] = names;
  const scopes = values('--scope');
  if (command === 'exec' && scopes.length > 0) {
    await enterMember(trail, source, scopes, undefined);
    return { words: [...others, ...rest] };
  }
  const [script, ...more] = others;
  if (command !== 'run' || script === undefined || more.length > 0) {
    throw new NeedsShell('lerna runs several scripts');
  }
  await enterMember(trail, source, scopes, script);
  return { script, args: rest };
}
