import type { Files } from '../../support/pack.ts';

/** An Express app, from the registry, that says `text`. */
export function expressApp(text: string): Files {
  return {
    'package.json': {
      name: 'app',
      version: '1.0.0',
      private: true,
      scripts: { start: 'node server.js' },
      dependencies: { express: '^5.1.0' },
    },
    'server.js': `
      const app = require('express')();
      app.get('/', (request, response) => response.send(${JSON.stringify(text)}));
      app.listen(process.env.PORT);
    `,
    'sluice.json': { workers: 1 },
    '.gitignore': 'node_modules\n',
  };
}

/** An app that runs each script it is sent and tells what it printed, and how it ended. */
export function obedientApp(): Files {
  return {
    'server.js': `
      const { spawn } = require('node:child_process');
      require('node:http')
        .createServer(async (request, response) => {
          const script = (await request.toArray()).join('');
          if (script === '') return response.end('at your service');
          const child = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
          for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => response.write(chunk));
          child.on('error', (error) => response.end(String(error)));
          child.on('close', (code) => response.end('\\nended with ' + code));
        })
        .listen(process.env.PORT);
    `,
    'sluice.json': { workers: 1 },
  };
}
