import { connect, type Socket } from 'node:net';

/** Answer of an app. */
export interface Answer {
  status: number;
  /** header x-pid */
  pid: number;
}

/** Connection that sends one request at a time, as a browser does. */
export class Client {
  readonly #socket: Socket;
  readonly #headers: string;
  #text = '';
  #settle: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  isOpen = true;

  /** @param headers further lines of each request */
  constructor(port: number, headers = '') {
    this.#headers = headers;
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (chunk: string) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  /** Sends a GET. @throws Error if the connection ends before the answer */
  get(path = '/'): Promise<Answer> {
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#socket.write(`GET ${path} HTTP/1.1\r\nhost: bench\r\n${this.#headers}\r\n`);
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
    const header = (name: string) =>
      Number(new RegExp(`^${name}: (\\d+)\r$`, 'im').exec(this.#text)?.[1] ?? 0);
    if (this.#text.length < head + 4 + header('content-length')) return;
    const answer = { status: Number(this.#text.slice(9, 12)), pid: header('x-pid') };
    this.#text = '';
    this.#settle?.resolve(answer);
    this.#settle = undefined;
  }

  #fail(error: Error): void {
    this.isOpen = false;
    this.#settle?.reject(error);
    this.#settle = undefined;
  }
}
