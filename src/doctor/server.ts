import { ownLog, version as ownVersion } from '../config/installed.ts';
import { exists } from '../system/fs/exists.ts';
import { isLoopback } from '../system/net/address.ts';
import { asItsUser, type Finding, fault, nameOf, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

/** Checks that the server answers and has the version that is installed here. */
export function* checkServer({ server, paths, systemWide }: Snapshot): Iterable<Finding> {
  if (server.state === 'down') {
    const { code, message, hint } = server.error;
    return yield fault(message, code === 'forbidden' ? asItsUser : hint);
  }
  const { version } = server;
  if (version !== ownVersion) {
    yield warning(
      `Sluice ${version} runs, and ${ownVersion} is installed`,
      systemWide
        ? 'Restart Sluice; apps keep running: `systemctl reload sluice-runner && systemctl restart sluice`.'
        : 'Restart Sluice: send it SIGUSR2, which keeps the apps running, and run `sluice up` again.',
    );
  }
  yield ok(`Sluice ${version} answers, with its state in ${paths.home}`);
}

/**
 * Checks that the server is connected to a runner, which is far from its limit of open files: at the limit Sluice cannot
 * deploy or restart any app. The server rejects a runner of another version.
 */
export function* checkRunner({ server, systemWide }: Snapshot): Iterable<Finding> {
  if (server.state === 'down') return;
  if (server.state === 'alone') return yield fault(server.error.message, server.error.hint);
  const { runner, apps } = server.status;
  if (runner === null) {
    return yield fault(
      'the server has no connection to the runner',
      `Apps keep running, and Sluice starts another runner. Read why it ended: ${ownLog(systemWide)}.`,
    );
  }
  const { pid, descriptors, maxDescriptors } = runner;
  const connected = `connected (pid ${pid})`;
  if (descriptors === null || maxDescriptors === null) return yield ok(connected);
  const usage = `${connected}, ${descriptors} of ${maxDescriptors} file descriptors are open`;
  if (descriptors > maxDescriptors / 2) {
    const most = apps
      .toSorted((a, b) => b.descriptors - a.descriptors)
      .slice(0, 3)
      .map((app) => `${nameOf(app)} (${app.descriptors})`);
    yield warning(
      `${usage}; these apps use most: ${most.join(', ')}`,
      'Run fewer workers of these apps, or raise the limit: set LimitNOFILE in the unit, or run `ulimit -n` before `sluice up`.',
    );
  }
  yield ok(usage);
}

/** Checks that `sluice up` could start with config.json, which a running server does not read again. */
export async function* checkSettings({ settingsError, paths }: Snapshot): AsyncIterable<Finding> {
  if (settingsError !== undefined) {
    const { message, hint } = settingsError;
    return yield fault(message, `Sluice cannot start with this file. ${hint}`.trim());
  }
  const isThere = await exists(paths.settings);
  yield ok(`${paths.settings} ${isThere ? 'is valid' : 'does not exist: the defaults apply'}`);
}

/** Checks that nobody can read tokens on their way to the API, which speaks plain HTTP. */
export function* checkApi({ server, limits }: Snapshot): Iterable<Finding> {
  // The settings may have changed since the server started.
  const host = server.state === 'up' ? new URL(server.status.server.url).hostname : limits.listen.host;
  if (isLoopback(host)) return yield ok(`listens on this machine only (${host})`);
  yield warning(
    `listens on ${host} without TLS: tokens travel unencrypted`,
    'Set "listen.host" in config.json to 127.0.0.1. Reach the API through a domain with TLS (`sluice domains`) or an ssh tunnel.',
  );
}
