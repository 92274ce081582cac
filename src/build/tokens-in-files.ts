import { join } from 'node:path';
import { readAppTextIfAny } from '../system/fs/read-file.ts';
import type { BuildContext } from './context.ts';
import { baseEnvironment } from './variables.ts';

/** Configuration of package managers, into which builds write tokens. */
const configurations = ['.npmrc', '.yarnrc', '.yarnrc.yml', 'bunfig.toml'];

/** Largest file that is searched, in bytes. */
const maxBytes = 256 * 1024;

/** Shortest value that is searched: a shorter one may be part of any word. */
const minLength = 6;

/** Program that replaces values of variables in a file by their names. No argument has a value. */
const replaceValues = `
  const [path, ...names] = process.argv.slice(1);
  const { readFileSync, writeFileSync } = require('node:fs');
  let text = readFileSync(path, 'utf8');
  for (const name of names) text = text.replaceAll(process.env[name], () => '\${' + name + '}');
  writeFileSync(path, text);
`;

/**
 * Replaces values of build-only variables in the configuration of package managers by the names of the variables: a command such as
 * `echo "…:_authToken=$NPM_TOKEN" >> .npmrc` has written them, and the running app must not find them. The user of the app writes
 * the files.
 */
export async function removeTokens(context: BuildContext): Promise<void> {
  const {
    directory,
    env,
    buildOnly = [],
    settings,
    app = '',
    node,
    isolated,
    user,
    runJob,
    signal,
  } = context;
  const secrets = buildOnly.filter((name) => (env[name]?.length ?? 0) >= minLength);
  if (secrets.length === 0) return;
  for (const place of new Set(['', settings.directory ?? '', app])) {
    for (const configuration of configurations) {
      const file = join(place, configuration);
      const text = (await readAppTextIfAny(directory, file, maxBytes)) ?? '';
      const names = secrets.filter((name) => text.includes(env[name] ?? ''));
      if (names.length === 0) continue;
      const values = Object.fromEntries(names.map((name) => [name, env[name] ?? '']));
      const job = {
        argv: [node, '-e', replaceValues, join(directory, file), ...names] as [string, ...string[]],
        ...{ directory, user, lowPriority: true, timeout: 60_000 },
        env: { ...baseEnvironment(process.env, isolated), ...values },
      };
      const { code } = await runJob(job, () => undefined, signal);
      const list = names.join(', ');
      context.notice({
        code: 'token_in_file',
        message:
          code === 0
            ? `the build wrote the value of ${list} into ${file}; the release has the name of the variable instead`
            : `the build wrote the value of ${list} into ${file}, and Sluice could not remove the value`,
        hint: `Commit ${file} with \${${names[0]}}: the package manager inserts the value itself.`,
      });
    }
  }
}
