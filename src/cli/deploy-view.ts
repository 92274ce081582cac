import { reachOf } from '../config/reach.ts';
import type { DeployEvent } from '../deploy/events.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import { printableLine } from '../system/text/printable.ts';
import { hasColours, noteText, paint, print } from './output.ts';

/** Shows a deploy as it goes on. */
export interface DeployView {
  uploading(bytes: number): void;
  event(event: DeployEvent): void;
  note(text: string): void;
}

/** For --json: the outcome is printed when it is there, and nothing before it. */
export const silentView: DeployView = { uploading: () => {}, event: () => {}, note: () => {} };

/** Steps, the lines of the build, notices, and how it ended. On a terminal the upload is counted as it goes. */
export function createView(): DeployView {
  const counter = process.stderr.isTTY ? process.stderr : undefined;
  let counting = false;
  let shown = 0;
  const endCount = () => {
    if (counting) counter?.write('\r\u001b[K');
    counting = false;
  };
  return {
    uploading(bytes) {
      const now = performance.now();
      if (counter === undefined || now - shown < 100) return;
      shown = now;
      counting = true;
      counter.write(`\r\u001b[K   uploading: ${formatBytes(bytes)}`);
    },
    event(event) {
      endCount();
      const text = describe(event);
      if (text !== '') print(text);
    },
    note(text) {
      endCount();
      print(paint('yellow', text));
    },
  };
}

function describe(event: DeployEvent): string {
  switch (event.event) {
    case 'accepted':
      return `release ${event.release} of ${event.app}, ${event.environment}`;
    case 'step':
      return paint('bold', `-- ${event.step}`);
    case 'log':
      return `   ${printableLine(event.line, hasColours())}`.trimEnd();
    case 'notice':
      return noteText(event);
    case 'live': {
      const { url, number } = event.release;
      const reach = reachOf(url, event.release);
      return `${paint('green', 'live:')} ${url} release ${number} in ${formatDuration(event.tookMs)}${reach}`;
    }
    case 'failed':
      // Told at the end of the command, as every error is.
      return '';
  }
}
