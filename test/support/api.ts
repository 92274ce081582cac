import { openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import supertest from 'supertest';
import { createApi } from '../../src/api/app.ts';
import type { KeyStore } from '../../src/api/auth/keys.ts';
import { type Scope, TokenStore } from '../../src/api/auth/tokens.ts';
import { Paths } from '../../src/config/paths.ts';
import type { Edge } from '../../src/edge/edge.ts';
import type { AppService } from '../../src/service/app-service.ts';
import { createLog, type LogLevel } from '../../src/system/log/log.ts';
import { temporaryDirectory } from './temporary.ts';

/** API in this process, with a fake app service. */
export interface TestApi {
  api: ReturnType<typeof supertest>;
  tokens: TokenStore;
  /** Creates a token and returns the headers that send it. */
  bearer(name: string, scope: Scope, app?: string | null): Promise<{ Authorization: string }>;
  /** Returns the lines of the log. */
  log(): Promise<Record<string, unknown>[]>;
}

/** Starts an API whose app service has only the given methods. */
export async function startApi(
  t: Pick<TestContext, 'after'>,
  service: Partial<Pick<AppService, keyof AppService>>,
  logLevel: LogLevel = 'info',
): Promise<TestApi> {
  const home = await temporaryDirectory(t);
  const path = join(home, 'log');
  const tokens = new TokenStore(new Paths(home));
  const app = createApi(
    {
      service: service as AppService,
      tokens,
      paths: new Paths(home),
      keys: { list: async () => [], removeOf: async () => [] } as Partial<KeyStore> as KeyStore,
      edge: { list: () => [], fault: null } as Partial<Edge> as Edge,
      version: '0.0.0',
      url: () => 'http://127.0.0.1:1',
      runner: async () => null,
      log: createLog(openSync(path, 'a'), 'server', logLevel),
    },
    false,
  );
  return {
    api: supertest(app.callback()),
    tokens,
    async bearer(name, scope, app = null) {
      const { secret } = await tokens.create(name, [scope], app);
      return { Authorization: `Bearer ${secret}` };
    },
    async log() {
      const text = await readFile(path, 'utf8');
      return text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
    },
  };
}
