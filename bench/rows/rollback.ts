import { cli } from '../../test/support/cli.ts';
import type { Measurement } from '../measurement.ts';
import type { Project } from '../project.ts';
import { smallProject } from './redeploy.ts';

const rival = 'git checkout && npm ci && pm2 reload';

/**
 * Time of `sluice rollback`, with the start of the command: to the release that a deploy has just replaced, and then to the release
 * before that one, whose workers do not run.
 */
export const rollbackMeasurement: Measurement = {
  name: 'rollback',
  rounds: 7,
  quickRounds: 1,
  rows: [
    {
      title: 'sluice rollback to the release that was live before, within a minute',
      short: 'rollback within a minute',
      unit: 'ms',
      ours: 'standby',
      rival: { name: rival, figure: 'pm2' },
      goal: { figure: 50 },
    },
    {
      title: 'sluice rollback to an earlier release, 80 packages, settleTime 0',
      short: 'rollback to an earlier release, Express with 80 packages, settleTime 0',
      unit: 'ms',
      ours: 'cold',
      rival: { name: rival, figure: 'pm2' },
      goal: { ratio: 0.5 },
    },
  ],
  async prepare(scope) {
    const project = await smallProject(scope);
    return [() => inSluice(project), () => inPm2(project)];
  },
};

async function inSluice(project: Project): Promise<Record<string, number>> {
  const versions: number[] = [];
  for (let push = 0; push < 3; push += 1) {
    versions.push(await project.changeCode());
    await project.push();
  }
  const [oldest = 0, previous = 0] = versions;
  const live = (await project.sluice.status('shop')).release ?? 0;
  const standby = await rollback(project, [], previous);
  const cold = await rollback(project, [String(live - 2)], oldest);
  return { standby, cold };
}

/** @returns time of the command, in ms */
async function rollback(project: Project, args: string[], version: number): Promise<number> {
  const start = performance.now();
  const { code, stderr } = await cli(['rollback', 'shop', ...args], {
    env: { SLUICE_HOME: project.sluice.home },
  });
  const took = performance.now() - start;
  if (code !== 0) throw new Error(`sluice rollback: ${stderr}`);
  const answered = await project.sluiceVersion();
  if (answered !== version) throw new Error(`version ${answered} answers instead of ${version}`);
  return took;
}

async function inPm2(project: Project): Promise<Record<string, number>> {
  await project.checkOut('main');
  await project.pull();
  const start = performance.now();
  await project.checkOut('HEAD~1');
  return { pm2: performance.now() - start };
}
