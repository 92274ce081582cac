import { environmentName } from '../../config/paths.ts';
import type { PlannedApp } from '../../import/plan.ts';
import { commandsIn } from '../../import/settings.ts';
import { describeTraffic, type Traffic } from '../../import/traffic.ts';
import { counted, listSome } from '../../system/text/format.ts';
import { paint } from '../output.ts';
import type { CheckoutCommit } from '../upload/checkout.ts';

/** Planned app with the facts that a person wants to see. */
export interface ShownApp {
  planned: PlannedApp;
  commit: CheckoutCommit | undefined;
  /** true if the app has a live release in Sluice */
  isLive: boolean;
  traffic: Traffic;
}

/** Returns the rows of an app for people: a name and a text each. */
function rowsOf({ planned, commit, isLive, traffic }: ShownApp): [string, string][] {
  const { project, web, background, port, running, settings, variables, ofMachine } = planned;
  const { start, processes } = commandsIn(running);
  const all = [...(web ? [web] : []), ...background];
  const names = Object.keys(variables).sort();
  const rows: [string, string | undefined][] = [
    [
      'from PM2',
      all
        .map(
          ({ name, instances, isCluster }) =>
            `${name} (${isCluster ? 'cluster' : 'fork'} mode, ${instances})`,
        )
        .join(', '),
    ],
    ['runs', start],
    ['workers', web && String(web.instances)],
    [
      'processes',
      Object.entries(processes)
        .map(([name, command]) => `${name}: ${command}`)
        .join(', '),
    ],
    ['Node.js', web?.node_version ?? background[0]?.node_version],
    ['port', port && `${port.port} on ${port.hosts.join(' and ')}, by PM2`],
    [
      'directory',
      project.root === project.directory ? project.root : `${project.directory} in ${project.root}`,
    ],
    ['commit', commit && commitText(commit)],
    ['variables', names.length === 0 ? undefined : listSome(names, 40)],
    [
      'left out',
      ofMachine.length === 0 || isLive
        ? undefined
        : `${listSome(ofMachine, 40)}: variables of this machine that no file of the app names (to import one: --variable NAME)`,
    ],
    [
      'settings',
      settings === undefined
        ? project.settingsFile
        : [project.settingsFile, `sluice.json (new): ${Object.keys(settings).join(', ')}`]
            .filter((text) => text !== undefined)
            .join(', '),
    ],
    ['in Sluice', isLive ? 'is live already: an import moves only its traffic' : undefined],
    ['traffic', describeTraffic(traffic)],
  ];
  return rows.flatMap(([name, text]) => (text === undefined || text === '' ? [] : [[name, text]]));
}

/** Returns the plan of one app for people. */
export function planText(shown: ShownApp): string {
  const { planned } = shown;
  const rows = rowsOf(shown);
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, text]) => `  ${paint('dim', name.padEnd(width))}   ${text}`);
  const notes = planned.notes.map((text) => `  ${paint('yellow', `note: ${text}`)}`);
  return [
    paint('bold', environmentName({ app: planned.name, environment: 'production' })),
    ...lines,
    ...notes,
  ].join('\n');
}

function commitText({ commit, branch, changedFiles }: CheckoutCommit): string {
  const changes = changedFiles === 0 ? '' : `, with ${counted(changedFiles, 'changed file')}`;
  return `${commit.slice(0, 7)}${branch === undefined ? '' : ` on ${branch}`}${changes}`;
}

/** Returns the plan of one app as data, without the values of variables. */
export function planJson({ planned, commit, isLive, traffic }: ShownApp) {
  const { name, project, web, background, port, running, settings, variables, ofMachine, notes } = planned;
  const describe = (app: NonNullable<typeof web>) => ({
    name: app.name,
    instances: app.instances,
    mode: app.isCluster ? 'cluster' : 'fork',
    logs: app.logs,
  });
  return {
    app: name,
    web: web === undefined ? null : describe(web),
    background: background.map(describe),
    node: web?.node_version ?? null,
    port: port ?? null,
    root: project.root,
    directory: project.directory,
    commit: commit ?? null,
    variables: Object.keys(variables).sort(),
    variablesOfMachine: ofMachine,
    running,
    settings: settings ?? null,
    settingsFile: project.settingsFile ?? null,
    isLive,
    traffic,
    notes,
  };
}
