import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { currentLog, rotatedLog } from '../../src/logs/files.ts';
import { type LogOrigin, type LogStream, linePrefix } from '../../src/logs/line.ts';

interface Written extends Partial<LogOrigin> {
  time?: Date;
  stream?: LogStream;
  continued?: boolean;
}

/** Writes an `app.log` as the runner does, and rotates it. */
export class LogWriter {
  readonly directory: string;
  #number = 0;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  get path(): string {
    return join(this.directory, currentLog);
  }

  line(text: string | Buffer, options: Written = {}): void {
    this.bytes(record(text, options));
  }

  lines(texts: string[], options: Written = {}): void {
    this.bytes(Buffer.concat(texts.map((text) => record(text, options))));
  }

  bytes(bytes: Buffer | string): void {
    appendFileSync(this.path, bytes);
  }

  /** @returns the number that it has got */
  rotate(): number {
    if (existsSync(this.path)) {
      this.#number += 1;
      renameSync(this.path, rotatedLog(this.directory, this.#number));
    }
    return this.#number;
  }

  compress(number: number): void {
    const path = rotatedLog(this.directory, number);
    if (!existsSync(path)) return;
    writeFileSync(`${path}.gz.part`, gzipSync(readFileSync(path)));
    renameSync(`${path}.gz.part`, `${path}.gz`);
    rmSync(path);
  }

  compressAll(): void {
    for (const name of readdirSync(this.directory)) {
      const number = /^app\.log\.(\d+)$/.exec(name)?.[1];
      if (number !== undefined) this.compress(Number(number));
    }
  }

  remove(number: number): void {
    for (const end of ['', '.gz']) rmSync(rotatedLog(this.directory, number) + end, { force: true });
  }
}

function record(text: string | Buffer, options: Written): Buffer {
  const { time = new Date(), release = 1, process = 'web.0', stream = 'out', continued = false } = options;
  const prefix = linePrefix(time, { release, process }, stream, continued);
  return Buffer.concat([Buffer.from(prefix), Buffer.from(text), Buffer.from('\n')]);
}
