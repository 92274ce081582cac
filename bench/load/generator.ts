import { burst, webSockets } from './crowd.ts';
import { OpenLoop, type OpenLoopOptions } from './open-loop.ts';

let loop: OpenLoop | undefined;

/** Commands that the benchmark sends to this process. */
export const commands = {
  burst: ({ port, connections }: { port: number; connections: number }) => burst(port, connections),
  webSockets: ({ port, connections, rate }: { port: number; connections: number; rate: number }) =>
    webSockets(port, connections, rate),
  start: async (options: OpenLoopOptions) => {
    loop = await OpenLoop.start(options);
  },
  stop: async () => loop?.stop(),
};

/** Message to this process. */
export interface Command {
  name: keyof typeof commands;
  options: never;
}

/** Reply to a command. */
export type Reply = { value: unknown } | { error: string };

if (process.send !== undefined) {
  process.on('message', async ({ name, options }: Command) => {
    const reply = await (commands[name](options) as Promise<unknown>).then(
      (value) => ({ value }),
      (error: Error) => ({ error: error.message }),
    );
    process.send?.(reply satisfies Reply);
  });
  process.on('disconnect', () => process.exit());
}
