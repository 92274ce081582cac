import * as v from 'valibot';
import { setting } from '../field-types.ts';
import { dnsForm, isHostName } from '../host-name.ts';

/** Limit of the host names of one environment. */
const mostDomains = 50;

const hostName = v.pipe(
  v.string(),
  v.transform(dnsForm),
  v.check(isHostName, 'a host name such as "shop.example.com"'),
);

export const domains = setting(
  'Host names of production, which nginx serves over HTTPS: Sluice adds missing ones after a deploy. Other environments have theirs in `environments`. See docs/domains.md.',
  v.pipe(v.array(hostName), v.maxLength(mostDomains, `at most ${mostDomains} host names`)),
  [],
);
