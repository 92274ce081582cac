import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Readable, Writable } from 'node:stream';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { spawn } from '../system/process/run.ts';
import { explainStart, gitEnvironment, lowerPriority } from './git.ts';
import { PushHook } from './hook.ts';
import { releaseRefs } from './refs.ts';

/** Programs of git that serve a client: one receives a push, the other serves a fetch. */
export const gitPrograms = ['git-receive-pack', 'git-upload-pack'] as const;
export type GitProgram = (typeof gitPrograms)[number];

/** Ways to talk with a client: `duplex` over ssh; two requests over HTTP, `advertise` for the list of refs, then `stateless`. */
export type GitMode = 'duplex' | 'advertise' | 'stateless';

interface GitOptions {
  mode: GitMode;
  /** version of git's protocol that the client asks for, such as `version=2`; not checked */
  protocol: string;
  /** limit of a push, in bytes */
  maxInput: number;
}

/** End of a git process. */
export interface GitEnd {
  /** null if a signal ended git */
  code: number | null;
  /** end of what git wrote to stderr */
  complaint: string;
}

/** Git process that serves one client. */
export interface GitProcess {
  input: Writable;
  output: Readable;
  /** pre-receive hook of a push */
  hook: PushHook;
  /** settles when the process has ended, even if others have its streams open */
  exited: Promise<void>;
  /** settles when the process has ended and all of its output has been read */
  ended: Promise<GitEnd>;
  kill(): void;
}

/**
 * Settings that let git refuse no ref after the hook: the release is live by then. Garbage is collected at another time. With a
 * line or a keep-alive each second, we notice soon that a client has gone.
 */
const gitSettings = [
  'receive.denyNonFastForwards=false',
  'receive.denyDeletes=false',
  'receive.denyDeleteCurrent=ignore',
  'receive.shallowUpdate=true',
  'receive.autogc=false',
  'receive.keepAlive=1',
  // With atomic pushes, a ref that git cannot set would undo the branch that is live.
  'receive.advertiseAtomic=false',
  `transfer.hideRefs=${releaseRefs.replace(/\/$/, '')}`,
  'core.logAllRefUpdates=false',
];

const flags = {
  duplex: [],
  advertise: ['--stateless-rpc', '--advertise-refs'],
  stateless: ['--stateless-rpc'],
} satisfies Record<GitMode, string[]>;

/** Keys and values of git, as in `version=2:object-format=sha1`. */
const protocolWords = /^[\w=:.-]{1,100}$/;

/** Time that a client may pause while it fetches, in seconds. */
const fetchTimeout = 60;

/** Time between SIGTERM and SIGKILL, in ms. */
const killDelay = 2000;

/** Starts git for one client. The client's request reaches git only through stdin. @throws AppError `git_missing` */
export async function startGit(
  repository: string,
  program: GitProgram,
  { mode, protocol, maxInput }: GitOptions,
): Promise<GitProcess> {
  const settings = [...gitSettings, `receive.maxInputSize=${maxInput}`];
  const args = [
    ...settings.flatMap((setting) => ['-c', setting]),
    program.slice('git-'.length),
    ...(program === 'git-upload-pack' ? ['--strict', `--timeout=${fetchTimeout}`] : []),
    ...flags[mode],
    repository,
  ];
  const child = spawn('git', args, {
    env: gitEnvironment({ SLUICE_PUSH: '1', GIT_PROTOCOL: protocolWords.test(protocol) ? protocol : '' }),
    // The hook inherits the last one through git: see hooks/pre-receive.
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
  });
  let complaint = '';
  const ended = new Promise<GitEnd>((resolve) => {
    child.once('close', (code) => resolve({ code, complaint: complaint.trim() }));
  });
  // Without a process there are no streams: the system has no room for one more process, or file.
  await once(child, 'spawn').catch((error: unknown) => {
    throw explainStart(error) ?? error;
  });
  lowerPriority(child);
  const [input, output, errors, hook] = child.stdio as unknown as [Writable, Readable, Readable, Duplex];
  errors.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-4000);
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = () => void endProcess(child, exited);
  return { input, output, hook: new PushHook(hook), exited, ended, kill };
}

/** Ends git with SIGTERM first: git then ends its own children, too. */
async function endProcess(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.kill('SIGTERM');
  if ((await withDeadline(exited, killDelay)).timedOut) child.kill('SIGKILL');
}
