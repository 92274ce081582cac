import type * as v from 'valibot';
import { group, record, setting } from '../field-types.ts';
import { environmentName } from './environment-name.ts';
import { branchNames } from './sources.ts';

/** Settings of single environments. @param entries settings that an environment may have */
export function environments<const Entries extends v.ObjectEntries>(entries: Entries) {
  return setting(
    'Settings of single environments, by name: `{"staging": {"workers": 1}}`. Each takes precedence over the same setting outside. All settings are possible but `root` and `directory`; `branches` is a branch or a list. See docs/git.md.',
    record(environmentName, group({ ...entries, branches: branchNames })),
  );
}
