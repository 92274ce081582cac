import * as v from 'valibot';
import { isName } from '../paths.ts';

/** Name of an environment. */
export const environmentName = v.pipe(
  v.string(),
  v.check(isName, 'the name of an environment, such as "staging"'),
);
