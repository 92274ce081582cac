import type { RunnerInfo } from '../api/routes/server.ts';
import type { AppStatus } from '../apps/status.ts';
import { ownLog, version as ownVersion } from '../config/installed.ts';
import { exists } from '../system/fs/exists.ts';
import { isLoopback } from '../system/net/address.ts';
import { asItsUser, type Check, type Finding, fault, nameOf, ok, warning } from './check.ts';

/** Checks that the server answers and has the version that is installed here. */
export const serverCheck: Check = {
  name: 'server',
  async run({ server, paths, systemWide }) {
    if (server.state === 'down') {
      const { code, message, hint } = server.error;
      return fault(message, code === 'forbidden' ? asItsUser : hint);
    }
    const { version } = server;
    if (version === ownVersion) return ok(`Sluice ${version} answers, with its state in ${paths.home}`);
    return warning(
      `Sluice ${version} runs, and ${ownVersion} is installed`,
      systemWide
        ? 'Restart Sluice; apps keep running: `systemctl reload sluice-runner && systemctl restart sluice`.'
        : 'Restart Sluice: send it SIGUSR2, which keeps the apps running, and run `sluice up` again.',
    );
  },
};

/** Checks that the server is connected to a runner. The server rejects a runner of another version. */
export const runnerCheck: Check = {
  name: 'runner',
  async run({ server, systemWide }) {
    if (server.state === 'down') return undefined;
    if (server.state === 'alone') return fault(server.error.message, server.error.hint);
    const { runner, apps } = server.status;
    if (runner !== null) return checkDescriptors(runner, apps);
    return fault(
      'the server has no connection to the runner',
      `Apps keep running, and Sluice starts another runner. Read why it ended: ${ownLog(systemWide)}.`,
    );
  },
};

/**
 * Checks that the runner is far from its limit of open files: at the limit Sluice cannot deploy or restart any app. A server
 * of an earlier version sends no figures.
 */
function checkDescriptors(runner: Partial<RunnerInfo>, apps: AppStatus[]): Finding {
  const { pid, descriptors, maxDescriptors } = runner;
  const connected = `connected (pid ${pid})`;
  if (descriptors == null || maxDescriptors == null) return ok(connected);
  const usage = `${connected}, ${descriptors} of ${maxDescriptors} file descriptors are open`;
  if (descriptors <= maxDescriptors / 2) return ok(usage);
  const most = apps
    .toSorted((a, b) => b.descriptors - a.descriptors)
    .slice(0, 3)
    .map((app) => `${nameOf(app)} (${app.descriptors})`);
  return warning(
    `${usage}; these apps use most: ${most.join(', ')}`,
    'Run fewer workers of these apps, or raise the limit: set LimitNOFILE in the unit, or run `ulimit -n` before `sluice up`.',
  );
}

/** Checks that `sluice up` could start with config.json, which a running server does not read again. */
export const settingsCheck: Check = {
  name: 'settings',
  async run({ settings, paths }) {
    if ('error' in settings) {
      const { message, hint } = settings.error;
      return fault(message, `Sluice cannot start with this file. ${hint}`.trim());
    }
    const isThere = await exists(paths.settings);
    return ok(`${paths.settings} ${isThere ? 'is valid' : 'does not exist: the defaults apply'}`);
  },
};

/** Checks that nobody can read tokens on their way to the API, which speaks plain HTTP. */
export const apiCheck: Check = {
  name: 'api',
  async run({ server, limits }) {
    // The settings may have changed since the server started.
    const host = server.state === 'up' ? new URL(server.status.server.url).hostname : limits.listen.host;
    if (isLoopback(host)) return ok(`listens on this machine only (${host})`);
    return warning(
      `listens on ${host} without TLS: tokens travel unencrypted`,
      'Set "listen.host" in config.json to 127.0.0.1. Reach the API through a domain with TLS (`sluice domains`) or an ssh tunnel.',
    );
  },
};
