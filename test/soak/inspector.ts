import { listeningPorts } from './process.ts';

/** Memory of a process of Node.js after a full collection. */
export interface Held {
  /** bytes of the heap, of what hangs on it outside (buffers), and of C++ objects */
  live: number;
  /** what keeps its event loop busy: name to count (process.getActiveResourcesInfo) */
  resources: Record<string, number>;
}

/**
 * Looks into a process that was started with `--inspect`: the one way to have its garbage collected, and to learn of
 * its timers, that needs nothing in the program itself.
 */
export class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #last = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const { id, result, error } = JSON.parse(data);
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(result);
      else call?.reject(new Error(error.message));
    });
    socket.addEventListener('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the inspector has hung up'));
    });
  }

  /** Attaches to the process `pid`. */
  static async attach(pid: number): Promise<Inspector> {
    const socket = new WebSocket(await findUrl(pid));
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('error', () => reject(new Error(`the inspector of ${pid} does not answer`)));
    });
    return new Inspector(socket);
  }

  async held(): Promise<Held> {
    // The second one frees what finalizers of the first have let go.
    for (let times = 0; times < 2; times += 1) await this.#call('HeapProfiler.collectGarbage');
    const { usedSize, embedderHeapUsedSize, backingStorageSize } =
      await this.#call<HeapUsage>('Runtime.getHeapUsage');
    const resources: Record<string, number> = {};
    for (const name of await this.evaluate<string[]>('process.getActiveResourcesInfo()'))
      resources[name] = (resources[name] ?? 0) + 1;
    return { live: usedSize + embedderHeapUsedSize + backingStorageSize, resources };
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  /** Evaluates an expression in the process. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result } = await this.#call<{ result: { value: T } }>('Runtime.evaluate', {
      expression,
      returnByValue: true,
    });
    return result.value;
  }

  #call<T>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    this.#last += 1;
    const call = Promise.withResolvers<unknown>();
    this.#waiting.set(this.#last, call);
    this.#socket.send(JSON.stringify({ id: this.#last, method, params }));
    return call.promise as Promise<T>;
  }
}

type HeapUsage = Record<'usedSize' | 'embedderHeapUsedSize' | 'backingStorageSize', number>;

async function findUrl(pid: number): Promise<string> {
  for (const port of await listeningPorts(pid)) {
    try {
      const [target] = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
        webSocketDebuggerUrl: string;
      }[];
      if (target?.webSocketDebuggerUrl !== undefined) return target.webSocketDebuggerUrl;
    } catch {
      // It is not the inspector that listens there.
    }
  }
  throw new Error(`process ${pid} has no inspector`);
}
