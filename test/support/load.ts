import { connect, type Socket } from 'node:net';

/** One request as its client saw it. Times are performance.now() of the one process that has all clients. */
interface Sample {
  start: number;
  end: number;
  /** which generation answered, from the header x-mark */
  mark: number;
  /** which worker, from the header x-pid */
  pid: number;
}

export interface LoadReport {
  samples: Sample[];
  /** requests that got no answer, or a wrong one */
  errors: string[];
  /** the same, with when they were begun */
  lost: { start: number; error: string }[];
}

type Kind = 'get' | 'slow' | 'post' | 'busy';

interface Client {
  localAddress: string;
  kind: Kind;
  keepAlive: boolean;
}

export interface LoadOptions {
  /** clients whose requests make the event loop stand still */
  busy?: number;
  /** longest time to wait for an answer, in ms */
  patience?: number;
}

/**
 * Keeps `clients` clients busy until stopped: each sends its next request as soon as the last is answered. They mix
 * kept-alive connections and one connection a request; GETs, answers that take 50 ms, POSTs whose body comes in two
 * parts, and a pair of clients whose requests make the app's event loop stand still, so that it is late in all it does.
 */
export class Load {
  readonly #port: number;
  readonly #patience: number;
  readonly #report: LoadReport = { samples: [], errors: [], lost: [] };
  readonly #clients: Promise<void>[];
  #stopped = false;

  /** @param localAddress gives a client the address of its connections */
  constructor(
    port: number,
    clients = 24,
    localAddress: (index: number) => string = () => '127.0.0.1',
    { busy = 2, patience = Number.POSITIVE_INFINITY }: LoadOptions = {},
  ) {
    this.#port = port;
    this.#patience = patience;
    const kinds: Kind[] = ['get', 'post', 'slow'];
    this.#clients = Array.from({ length: clients }, (_, index) => {
      const kind = index < busy ? 'busy' : (kinds[index % kinds.length] as Kind);
      return this.#run({ kind, keepAlive: index % 2 === 0, localAddress: localAddress(index) });
    });
  }

  get answered(): number {
    return this.#report.samples.length;
  }

  /** Which workers have answered what was asked after `time`. */
  answeringSince(time: number): number[] {
    const later = this.#report.samples.filter(({ start }) => start > time);
    return [...new Set(later.map(({ pid }) => pid))].sort((a, b) => a - b);
  }

  async stop(): Promise<LoadReport> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    return this.#report;
  }

  async #run({ kind, keepAlive, localAddress }: Client): Promise<void> {
    let connection: Connection | undefined;
    while (!this.#stopped) {
      connection ??= new Connection(this.#port, localAddress, this.#patience);
      const start = performance.now();
      try {
        const { mark, pid, body, close } = await connection.request(kind, keepAlive);
        const end = performance.now();
        if (kind === 'post' && body !== 'first second')
          throw new Error(`a POST was answered with ${JSON.stringify(body)}`);
        this.#report.samples.push({ start, end, mark, pid });
        if (keepAlive && !close) continue;
      } catch (error) {
        const told = `${kind}${keepAlive ? ' kept alive' : ''}: ${(error as Error).message}`;
        this.#report.errors.push(told);
        this.#report.lost.push({ start, error: told });
      }
      connection.close();
      connection = undefined;
    }
    connection?.close();
  }
}

/** A client of its own: Node's would hide a lost request by sending it again. */
class Connection {
  readonly #socket: Socket;
  readonly #patience: number;
  #text = '';
  #timer: NodeJS.Timeout | undefined;
  #failure: Error | undefined;
  #settle: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;

  constructor(port: number, localAddress: string, patience: number) {
    this.#patience = patience;
    this.#socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (chunk: string) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error('connection closed')));
  }

  request(kind: Kind, keepAlive: boolean): Promise<Answer> {
    // It was closed since the last answer.
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const connection = keepAlive ? 'keep-alive' : 'close';
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    if (Number.isFinite(this.#patience)) {
      const error = new Error(`no answer within ${this.#patience} ms`);
      this.#timer = setTimeout(() => this.#fail(error), this.#patience);
    }
    const path = kind === 'slow' || kind === 'busy' ? `/${kind}` : '/';
    const method = kind === 'post' ? 'POST' : 'GET';
    const length = kind === 'post' ? 'content-length: 12\r\n' : '';
    this.#socket.write(
      `${method} ${path} HTTP/1.1\r\nhost: app\r\n${length}connection: ${connection}\r\n\r\n`,
    );
    if (kind === 'post') {
      this.#socket.write('first ');
      setTimeout(() => this.#socket.write('second'), 5);
    }
    return answer;
  }

  close(): void {
    this.#settle = undefined;
    this.#socket.destroy();
  }

  #receive(chunk: string): void {
    this.#text += chunk;
    const head = this.#text.indexOf('\r\n\r\n');
    if (head === -1) return;
    const header = (name: string) => new RegExp(`^${name}: (.*)\r$`, 'im').exec(this.#text)?.[1];
    const length = Number(header('content-length'));
    const body = this.#text.slice(head + 4);
    if (body.length < length) return;
    const status = this.#text.slice(9, 12);
    const [mark, pid] = [Number(header('x-mark')), Number(header('x-pid'))];
    const answer = { mark, pid, body, close: header('connection') === 'close' };
    this.#text = '';
    clearTimeout(this.#timer);
    const settle = this.#settle;
    this.#settle = undefined;
    if (status === '200') settle?.resolve(answer);
    else settle?.reject(new Error(`status ${status}`));
  }

  #fail(error: Error): void {
    clearTimeout(this.#timer);
    this.#failure ??= error;
    this.#settle?.reject(error);
    this.#settle = undefined;
  }
}

interface Answer {
  mark: number;
  pid: number;
  body: string;
  close: boolean;
}

/**
 * The requests that break the order promise: started after an answer of a newer generation had been received by
 * anybody, and yet answered by an older one. Marks grow with each generation.
 */
export function orderViolations({ samples }: Pick<LoadReport, 'samples'>): Sample[] {
  const byEnd = [...samples].sort((a, b) => a.end - b.end);
  const byStart = [...samples].sort((a, b) => a.start - b.start);
  const violations: Sample[] = [];
  let newest = 0;
  let seen = 0;
  for (const sample of byStart) {
    for (let ended = byEnd[seen]; ended !== undefined && ended.end < sample.start; ended = byEnd[++seen]) {
      newest = Math.max(newest, ended.mark);
    }
    if (sample.mark < newest) violations.push(sample);
  }
  return violations;
}
