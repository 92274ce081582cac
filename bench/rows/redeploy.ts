import type { Files } from '../../test/support/pack.ts';
import type { Measurement, Side } from '../measurement.ts';
import { Project } from '../project.ts';

const server = `import express from 'express';
import version from './version.js';

express()
  .get('/', (_request, response) => response.send(String(version)))
  .listen(process.env.PORT);
`;

/** Express with the packages that many apps have. */
const small: Files = {
  'package.json': {
    name: 'shop',
    version: '1.0.0',
    private: true,
    type: 'module',
    dependencies: {
      ...{ compression: '^1.8.0', 'cookie-parser': '^1.4.7', cors: '^2.8.5', express: '^5.1.0' },
      ...{ helmet: '^8.1.0', morgan: '^1.10.0', ws: '^8.18.0', zod: '^4.0.0' },
    },
  },
  'server.js': server,
  'sluice.json': { settleTime: 0, workers: 2 },
};

/** Express that serves what Vite builds, with usual tools for tests, styles and code. */
const large: Files = {
  ...small,
  'package.json': {
    name: 'shop',
    version: '1.0.0',
    private: true,
    type: 'module',
    scripts: { build: 'vite build' },
    dependencies: { express: '^5.1.0' },
    devDependencies: {
      ...{ '@vitejs/plugin-react': '^5.0.0', react: '^19.1.0', 'react-dom': '^19.1.0', vite: '^7.0.0' },
      ...{ '@babel/core': '^7.28.0', '@babel/preset-env': '^7.28.0', jest: '^30.0.0', eslint: '^9.30.0' },
      ...{ stylelint: '^16.20.0', webpack: '^5.100.0', 'webpack-dev-server': '^5.2.0' },
      'workbox-build': '^7.3.0',
    },
  },
  'vite.config.js': `import react from '@vitejs/plugin-react';
export default { plugins: [react()] };
`,
  'index.html': '<!doctype html><div id="root"></div><script type="module" src="/src/main.jsx"></script>\n',
  'src/main.jsx': `import { createRoot } from 'react-dom/client';
import version from '../version.js';
createRoot(document.getElementById('root')).render(<h1>Version {version}</h1>);
`,
};

/** Deploy of a commit that changes only code, from the push until the release is live. */
export const redeployMeasurement: Measurement = measurementOf({
  name: 'redeploy',
  title: 'deploy of a change of code, Express with 80 packages, settleTime 0',
  rival: 'git pull && npm ci && pm2 reload',
  project: { files: small, packages: 80, hasBuild: false },
  ...{ rounds: 7, quickRounds: 2, ratio: 0.4 },
});

/** The same for an app with a build. */
export const buildMeasurement: Measurement = measurementOf({
  name: 'build',
  title: 'deploy of a change of code, Vite with 800 packages, settleTime 0',
  rival: 'git pull && npm ci && npm run build && pm2 reload',
  project: { files: large, packages: 800, hasBuild: true },
  ...{ rounds: 5, quickRounds: 0, ratio: 0.5 },
});

/** Returns the app with 80 packages on both servers. */
export function smallProject(scope: Parameters<typeof Project.create>[0]): Promise<Project> {
  return Project.create(scope, { files: small, packages: 80, hasBuild: false });
}

function measurementOf(options: {
  name: string;
  title: string;
  rival: string;
  project: Parameters<typeof Project.create>[1];
  rounds: number;
  quickRounds: number;
  ratio: number;
}): Measurement {
  const { name, title, rival, rounds, quickRounds, ratio } = options;
  const row = { title, short: title, unit: 's' as const, ours: 'sluice' };
  return {
    ...{ name, rounds, quickRounds },
    rows: [{ ...row, rival: { name: rival, figure: 'pm2' }, goal: { ratio } }],
    async prepare(scope) {
      const project = await Project.create(scope, options.project);
      return [
        sideOf(
          'sluice',
          project,
          () => project.push(),
          () => project.sluiceVersion(),
        ),
        sideOf(
          'pm2',
          project,
          () => project.pull(),
          () => project.pm2Version(),
        ),
      ];
    },
  };
}

function sideOf(
  name: string,
  project: Project,
  deploy: () => Promise<void>,
  answering: () => Promise<number | undefined>,
): Side {
  return async () => {
    const version = await project.changeCode();
    const start = performance.now();
    await deploy();
    const took = performance.now() - start;
    const answered = await answering();
    if (answered !== version)
      throw new Error(`${name} answers with version ${answered} instead of ${version}`);
    return { [name]: took / 1000 };
  };
}
