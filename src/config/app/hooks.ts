import * as v from 'valibot';
import { duration } from '../units.ts';
import { shellCommand } from './shell-command.ts';

const hookCommand = (when: string) => v.optional(v.pipe(shellCommand, v.description(when)));

export const hooks = v.strictObject({
  preBuild: hookCommand('Shell command to run in the new release before its install.'),
  postBuild: hookCommand('Shell command to run after the build, while dev dependencies are still there.'),
  preSwitch: hookCommand(
    "Shell command to run once, in the new release with the app's variables, before its workers start: migrations. If it fails, so does the deploy.",
  ),
  postSwitch: hookCommand(
    'Shell command to run when the new release has the traffic. If it fails, a notice says so.',
  ),
  timeout: v.optional(duration('How long each of them may take.'), '15m'),
});
