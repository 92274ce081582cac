import type { Environment } from '../apps/environment.ts';
import { errorBody } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import { hasWorkers, type ReleaseRecord } from '../releases/release.ts';
import { levelOf } from '../system/log/log.ts';
import type { Deployment } from './deployment.ts';

/**
 * Adds the host names that the settings of a live release declare and that are missing. No failure changes that the release is live:
 * a notice tells the next step. Host names that the settings no longer declare stay.
 * @param mayAdd true if the deploy may do this itself: its author has access to all apps
 */
export async function addDeclaredDomains(
  deployment: Deployment,
  release: ReleaseRecord,
  mayAdd: boolean,
): Promise<void> {
  const { environment } = deployment;
  const { appliance, id } = environment;
  const served = new Set(appliance.domains.of(id).map(({ name }) => name));
  const missing = (release.run?.settings.domains ?? []).filter((name) => !served.has(name));
  if (missing.length === 0 || !hasWorkers(release)) return;
  await deployment.afterwards('postSwitch', async () => {
    for (const name of missing) {
      const notice = mayAdd ? await add(environment, name) : notAllowed(environment, name);
      if (notice === undefined) deployment.log(`nginx serves https://${name}; a certificate is ordered`);
      else deployment.notice(notice);
    }
    await environment.store.update(deployment.number, { notices: deployment.notices });
  });
}

/** Returns why a host name was not added; undefined if nginx serves it. */
async function add({ appliance, id, name: app }: Environment, name: string): Promise<Notice | undefined> {
  try {
    await appliance.domains.add({ name, environment: id, certificate: 'acme' });
    appliance.log.info('domain add', { ...id, domain: name, by: 'the setting "domains"' });
    return undefined;
  } catch (error) {
    appliance.log[levelOf(error)]('declared domain not added', { ...id, domain: name, error });
    const { message, hint } = errorBody(error);
    return {
      code: 'domain_not_added',
      message: `Sluice does not serve ${name} of the setting "domains": ${message}`,
      hint: hint || `Add it later: \`sluice domains add ${app} ${name}\`.`,
    };
  }
}

function notAllowed({ name: app }: Environment, name: string): Notice {
  return {
    code: 'domain_not_added',
    message: `Sluice does not serve ${name} of the setting "domains" yet: your key or token is limited to one app`,
    hint: `Run on the server: sluice domains add ${app} ${name}`,
  };
}
