import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { ownUnits } from '../../config/installed.ts';
import type { Paths } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { ensurePrivateDirectory } from '../../system/fs/files.ts';
import { run } from '../../system/process/run.ts';
import { isUnitHome } from '../../system/process/systemd.ts';
import { asOwner } from '../../system/process/user.ts';
import { lockHome } from './hold-still.ts';

/** Whether systemd runs Sluice with a home, and we may tell it to stop. Else it is whoever has typed `sluice up`. */
export async function isUnit(paths: Paths): Promise<boolean> {
  return process.getuid?.() === 0 && isUnitHome(paths.home);
}

/**
 * Ends Sluice and its apps, so that what it has in memory cannot be written over what is about to be put in its place;
 * disposing of what is returned starts it again. Only systemd can do that for us: otherwise it must not run.
 * @throws AppError `already_running`
 */
export async function quieten(paths: Paths): Promise<AsyncDisposable> {
  await using ending = new AsyncDisposableStack();
  if (await isUnit(paths)) {
    await run('systemctl', ['stop', ...ownUnits]);
    ending.defer(async () => {
      await run('systemctl', ['start', ...ownUnits.toReversed()]);
    });
  }
  ending.use(await assertQuiet(paths));
  return ending.move();
}

/** Keeps a server from starting until what is returned is disposed of. @throws AppError `already_running` */
export async function assertQuiet(paths: Paths): Promise<Disposable> {
  await ensurePrivateDirectory(paths.home);
  if (!(await exists(paths.run))) {
    asOwner(paths.home, () => mkdirSync(paths.run, { recursive: true, mode: 0o700 }));
  }
  const lock = await lockHome(paths);
  if (lock === undefined) throw running(`Sluice is up with the state in ${paths.home}`);
  const held = { [Symbol.dispose]: () => lock.release() };
  if (!(await answers(paths.runnerSocket))) return held;
  lock.release();
  throw running(`apps of an earlier Sluice still run with the state in ${paths.home}`);
}

function running(message: string): AppError {
  return new AppError('already_running', `${message}; a restore needs it to be at rest`, {
    hint: 'End it first (Ctrl-C at `sluice up`, or `./install.sh --local --stop`), and start it again afterwards.',
  });
}

/** Whether somebody listens there. */
async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    return await new Promise<boolean>((resolve) => {
      socket.on('connect', () => resolve(true));
      socket.on('error', () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}
