import { counted, formatDuration } from '../../system/text/format.ts';
import { noteText, paint } from '../output.ts';
import type { Preview } from './preview.ts';
import { settingsRows } from './settings-rows.ts';

/** Returns a preview for people: one line for each decision, then the notes. */
export function previewText(preview: Preview): string {
  const { directory, files, notices } = preview;
  const rows = previewRows(preview);
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, text]) => `${paint('dim', name.padEnd(width))}   ${text}`);
  return [`${directory}, ${counted(files, 'file')}`, '', ...lines, ...notices.map(noteText)].join('\n');
}

/** Returns the name and the text of each decision. */
export function previewRows({
  root,
  node,
  install,
  start,
  open,
  workers,
  processes,
  settings,
  origins,
}: Preview): [name: string, text: string][] {
  const { directory, health, bootTimeout, settleTime, hooks, shared, cron } = settings;
  const { path, status, body, command } = health;
  const listed = (names: string[]) => names.join(', ');
  const rows: [name: string, text: string][] = [
    ['directory', [root, directory].filter((part) => part !== '').join('/')],
    ['Node.js', `${node.version} (${node.reason})`],
    ...settingsRows(settings, origins),
    ['packages', install ?? ''],
    ['app', start],
    ['later', open.map(({ reason }) => reason).join(' ')],
    ['workers', workers.reason ?? workersText(settings.workers, workers.count)],
    [
      'health',
      workers.count === 0
        ? `each process must run for ${formatDuration(settleTime)}`
        : `GET ${path} must answer ${status.join(', ')}${body === undefined ? '' : ` with "${body}"`} within ${formatDuration(bootTimeout)}`,
    ],
    ['', command === undefined ? '' : `\`${command}\` must succeed within ${formatDuration(bootTimeout)}`],
    ['hooks', listed(Object.keys(hooks).filter((name) => name !== 'timeout'))],
    ['processes', listed(processes.map(processText))],
    ['cron', listed(cron.map(({ name, schedule }) => `${name} (${schedule})`))],
    ['shared', listed(shared)],
  ];
  return rows.filter(([, text]) => text !== '');
}

function processText({ name, command, count }: Preview['processes'][number]) {
  return `${name} (${count === 1 ? '' : `${count} × `}${command})`;
}

function workersText(setting: Preview['settings']['workers'], count: number): string {
  return typeof setting === 'number' ? String(count) : `one per core (${count} on this machine)`;
}
