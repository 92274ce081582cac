import { fetchText } from '../../test/support/http.ts';
import type { Files } from '../../test/support/pack.ts';
import type { Sluice } from '../../test/support/server.ts';
import { startAppliance } from '../appliance.ts';
import type { Measurement, Side } from '../measurement.ts';

const moduleCount = 2000;
/** in each module, which has about 8 KB then: packages on npm have 4 to 12 on average */
const functionCount = 20;

const title = `boot of an app with ${moduleCount} modules of 8 KB, after the first boot`;

/** App that answers with its time from the start of the process until it listened, in ms. */
const server = `const http = require('node:http');
const { run } = require('./modules/index.cjs');

const sum = run(0);
const server = http.createServer((_request, response) => response.end(String(listeningAt + sum * 0)));
let listeningAt;
server.listen(process.env.PORT, () => {
  listeningAt = performance.now();
});
`;

/** Boot of an app with many modules after its first start, with the compile cache of Sluice and without a compile cache. */
export const bootMeasurement: Measurement = {
  name: 'boot',
  rounds: 9,
  quickRounds: 3,
  rows: [
    {
      title,
      short: title,
      unit: 'ms',
      ours: 'cached',
      rival: { name: 'without a compile cache', figure: 'plain' },
      goal: { ratio: 0.7 },
    },
  ],
  async prepare(scope) {
    const sluice = await startAppliance(scope);
    await sluice.deploy('cached', filesWith({}));
    await sluice.deploy('plain', filesWith({ NODE_DISABLE_COMPILE_CACHE: '1' }));
    return [sideOf('cached', sluice), sideOf('plain', sluice)];
  },
};

function sideOf(app: string, sluice: Sluice): Side {
  return async () => {
    await sluice.call('POST', `/v1/apps/${app}/restart`);
    return { [app]: Number((await fetchText((await sluice.status(app)).port)).body) };
  };
}

function filesWith(env: Record<string, string>): Files {
  const names = Array.from({ length: moduleCount }, (_, index) => `module-${index}.cjs`);
  const all = names.map((name) => `require('./${name}')`).join(', ');
  return {
    'server.js': server,
    'sluice.json': { settleTime: 0, workers: 1, env },
    'modules/index.cjs': `const all = [${all}];\nexports.run = (value) => all.reduce((sum, { step0 }) => step0(sum), value);\n`,
    ...Object.fromEntries(names.map((name, index) => [`modules/${name}`, moduleText(index)])),
  };
}

/** Returns a module as packages have them: functions, most of which no start calls. */
function moduleText(index: number): string {
  const functions = Array.from(
    { length: functionCount },
    (_, step) => `exports.step${step} = function step${step}(value, options = {}) {
  const limits = { lower: ${index}, upper: options.upper ?? ${index + step}, name: 'module ${index}' };
  if (typeof value !== 'number') throw new TypeError(\`Invalid value in \${limits.name}: \${value}\`);
  const list = [value, limits.lower, limits.upper].map((entry) => entry * 2).filter((entry) => entry >= 0);
  return list.reduce((sum, entry) => (sum + entry) % 1000, 0);
};
`,
  );
  return `'use strict';\n\n${functions.join('\n')}`;
}
