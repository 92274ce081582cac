import type { Files } from './pack.ts';

/** No waiting for a crash that a test does not need; one worker, so that a boot is quick. */
const quick = { settleTime: '20ms', workers: 1 };

/** An app that answers every request with `text`. */
export function answering(text: string, settings: Record<string, unknown> = {}): Files {
  const code = `
    require('node:http')
      .createServer((request, response) => response.end(${JSON.stringify(text)}))
      .listen(process.env.PORT);
  `;
  return running(code, settings);
}

/** An app whose server.js is `code`. */
export function running(code: string, settings: Record<string, unknown> = {}): Files {
  return { 'server.js': code, 'sluice.json': { ...quick, ...settings } };
}

/** The same as `answering`, with something to install, to build and to prune; all of it local, so that it is quick. */
export function answeringWhenBuilt(text: string): Files {
  return {
    'package.json': {
      name: 'app',
      version: '1.0.0',
      scripts: { build: 'write-answer', start: 'node dist/server.js' },
      devDependencies: { builder: 'file:./builder' },
    },
    'builder/package.json': { name: 'builder', version: '1.0.0', bin: { 'write-answer': 'write.js' } },
    'builder/write.js': `#!/usr/bin/env node
      const { cpSync } = require('node:fs');
      cpSync('server.js', 'dist/server.js');
    `,
    ...answering(text),
  };
}

/** The same as `answering`, with a hook of each kind. */
export function answeringWithHooks(text: string): Files {
  const hooks = { preBuild: ':', postBuild: ':', preSwitch: ':', postSwitch: ':' };
  return answering(text, { hooks });
}

/** An app that does not listen before the file is there. */
export function answeringOnceThereIs(file: string, text: string): Files {
  return running(`
    const { existsSync } = require('node:fs');
    const server = require('node:http').createServer((request, response) => response.end(${JSON.stringify(text)}));
    const timer = setInterval(() => {
      if (!existsSync(${JSON.stringify(file)})) return;
      clearInterval(timer);
      server.listen(process.env.PORT);
    }, 20);
  `);
}
