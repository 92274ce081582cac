import { isLoopback } from '../system/loopback.ts';
import { type Target, targetName } from './paths.ts';

/** Returns what to add to the URL of an app: that only the server reaches the app, and how to change that; '' if other machines reach the app. */
export function reachOf(url: string, target: Target): string {
  if (!isLoopback(new URL(url).hostname)) return '';
  return ` (on the server only: \`sluice domains add ${targetName(target)} NAME\` gives it a name)`;
}
