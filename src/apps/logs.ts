import type { LogLine } from '../logs/join.ts';
import { type LogQuery, readLog } from '../logs/read.ts';
import { Masker } from '../system/text/mask/masker.ts';
import type { Environment } from './environment.ts';

/** How often a follower looks at most whether variables have got other values, in ms. */
const lookAgain = 1000;

/** Lines of an app's log. Values of its variables are masked, also those that they had since it is followed. */
export async function* readLogs(environment: Environment, query: LogQuery): AsyncGenerator<LogLine> {
  const secrets = new Set<string>();
  let masker = new Masker(secrets);
  let looked = Number.NEGATIVE_INFINITY;
  for await (const line of readLog(environment.paths.logs, query)) {
    if (performance.now() - looked > lookAgain) {
      const known = secrets.size;
      for (const value of Object.values(await environment.variables())) secrets.add(value);
      if (secrets.size > known) masker = new Masker(secrets);
      looked = performance.now();
    }
    yield { ...line, text: masker.maskText(line.text) };
  }
}
