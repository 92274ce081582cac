import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import type { Appliance } from '../../src/apps/appliance.ts';
import { type EnvironmentId, type EnvironmentPaths, Paths } from '../../src/config/paths.ts';
import { type ServerSettings, serverSettingsSchema } from '../../src/config/server-settings.ts';
import { parseSettings } from '../../src/config/settings-file.ts';
import type { DeployWatcher } from '../../src/deploy/events.ts';
import { noCommit, type Release } from '../../src/releases/release.ts';
import { AppService } from '../../src/service/app-service.ts';
import { MoveLock } from '../../src/system/concurrency/move-lock.ts';
import { Lock, LockByKey, Slots } from '../../src/system/concurrency/slots.ts';
import { FakeRunner } from './fake-runner.ts';
import { type Files, pack } from './pack.ts';
import { temporaryDirectory } from './temporary.ts';

export interface LogEntry {
  level: string;
  text: string;
  [field: string]: unknown;
}

/** An app service in this process, with files in a temporary home, and a runner without processes. */
export class TestService {
  readonly runner = new FakeRunner();
  readonly log: LogEntry[] = [];
  readonly appliance: Appliance;
  readonly service: AppService;
  readonly paths: Paths;

  private constructor(paths: Paths, settings: ServerSettings) {
    this.paths = paths;
    const logAs =
      (level: string) =>
      (message: string, fields: object = {}) =>
        void this.log.push({ ...fields, level, text: message });
    this.appliance = {
      ...{ paths, settings, runner: this.runner, node: process.execPath },
      reservePorts: async () => undefined,
      log: { debug: logAs('debug'), info: logAs('info'), warn: logAs('warn'), error: logAs('error') },
      domains: {
        add: async () => assert.fail('no domains'),
        of: () => [],
        removeOf: async () => undefined,
        refresh: () => undefined,
      },
      builds: new Slots(1),
      nodeLock: new Lock(),
      nodeVersions: new LockByKey(),
      moveLock: new MoveLock(),
    };
    this.service = new AppService(this.appliance);
  }

  /** @param settings content of config.json */
  static async start(t: TestContext, settings: object = {}): Promise<TestService> {
    const paths = new Paths(await temporaryDirectory(t));
    await mkdir(paths.apps, { recursive: true });
    return new TestService(paths, parseSettings(serverSettingsSchema, settings, 'config.json'));
  }

  environment(app: string): EnvironmentPaths {
    return this.paths.environment(idOf(app));
  }

  /** Deploys files to production, and reports the events to `watch`. */
  deploy(app: string, files: Files, watch?: DeployWatcher): Promise<Release> {
    return this.deployTo(idOf(app), files, watch);
  }

  async deployTo(id: EnvironmentId, files: Files, watch?: DeployWatcher): Promise<Release> {
    return this.#deploy(id, Readable.from([await pack(files)]), watch);
  }

  /** Deploys an upload to production. */
  deployBody(app: string, body: Readable, watch?: DeployWatcher): Promise<Release> {
    return this.#deploy(idOf(app), body, watch);
  }

  #deploy(id: EnvironmentId, body: Readable, watch: DeployWatcher = () => undefined): Promise<Release> {
    const origin = { ...noCommit, kind: 'upload', by: 'test' } as const;
    return this.service.deploy(id, { origin, body, contentLength: null }, watch);
  }

  async history(): Promise<Record<string, unknown>[]> {
    const lines = (await readFile(this.paths.events, 'utf8')).trim().split('\n');
    return lines.map((line) => JSON.parse(line));
  }
}

export function idOf(app: string): EnvironmentId {
  return { app, environment: 'production' };
}
