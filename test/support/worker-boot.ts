import type { WorkerBoot } from '../../src/protocol/worker.ts';

/** Makes what a runner tells a worker that has its channel at descriptor 3 and its handoff at 4 and 5. */
export function workerBoot(
  changes: Pick<WorkerBoot, 'key' | 'port' | 'generationFile' | 'orphanSocket' | 'drainTimeout'>,
): WorkerBoot {
  return {
    directory: '/nowhere',
    generation: 1,
    codePort: null,
    waitReady: false,
    channelFd: 3,
    handoffId: '',
    besideOrphans: false,
    affinity: null,
    load: null,
    handoffFds: { take: 4, give: 5 },
    maxMemory: null,
    listeningFds: [],
    secret: '',
    killTimeout: 1000,
    stopSignal: null,
    shutdownWithMessage: false,
    beatInterval: 1000,
    overflow: 'wait',
    ...changes,
  };
}
