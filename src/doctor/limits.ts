import { type Check, ok, type Patient, warning } from './check.ts';

/** What does nothing where the kernel is not asked to keep it. */
const settingOf = { memory: '"memoryLimit" and "buildMemory"', cpu: '"cpuWeight"', pids: '"maxProcesses"' };

/** Which limits the runner can have the kernel keep: those of memory, of the processor, of the number of processes. */
export async function checkLimits({ server }: Patient): Promise<Check | undefined> {
  if (server.state !== 'up' || server.status.runner === null) return undefined;
  const { version, missing, reason, wanted } = server.status.runner.limits;
  if (!wanted) return ok('limits', `none are kept by the kernel, as always with a local Sluice: ${reason}`);
  if (reason !== null) return warning('limits', `none are kept by the kernel: ${reason}`, remedy);
  if (missing.length === 0) return ok('limits', `memory, processor and processes, by cgroups v${version}`);
  const idle = missing.map((controller) => settingOf[controller]).join(', ');
  return warning('limits', `${missing.join(', ')} cannot be limited: ${idle} have no effect`, remedy);
}

const remedy = `The unit must have Delegate=yes: \`systemctl show --property=Delegate,DelegateControllers sluice-runner\`.
A controller that is not in /proc/cgroups, or is 0 in its last column, is off in the kernel: for memory, boot with cgroup_enable=memory.
Apps run all the same; one that takes all there is takes it from the others.`;
