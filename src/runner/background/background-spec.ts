import type { BackgroundSpec, GenerationSpec, SupervisionSpec } from '../../protocol/runner.ts';

/** Returns the supervision of a background process: parts that it has not are those of the workers. */
export function supervisionOf(release: GenerationSpec, own: BackgroundSpec): SupervisionSpec {
  const { killTimeout, shutdownWithMessage, stopSignal, restarts, maxMemory, instanceVar, workers } = release;
  return {
    killTimeout: own.killTimeout ?? killTimeout,
    shutdownWithMessage: own.shutdownWithMessage ?? shutdownWithMessage,
    stopSignal: own.stopSignal ?? stopSignal,
    restarts: own.restarts ?? restarts,
    // null is a value: no limit.
    maxMemory: own.maxMemory === undefined ? maxMemory : own.maxMemory,
    // In an app with workers, these settings of the app concern the workers alone.
    cronRestart: own.cronRestart ?? (workers === 0 ? release.cronRestart : null),
    instanceVar: own.instanceVar ?? instanceVar,
    incrementVar: own.incrementVar ?? (workers === 0 ? release.incrementVar : null),
    pmId: own.pmId ?? null,
  };
}
