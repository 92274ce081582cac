import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Readable, Writable } from 'node:stream';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { spawn } from '../system/process/run.ts';
import { explainStart, gitEnvironment, lower } from './git.ts';
import { HookPort } from './hook.ts';
import { kept } from './refs.ts';

/** What a client of git asks for: to send, or to fetch. */
export type ServiceName = 'git-receive-pack' | 'git-upload-pack';

export const serviceNames: readonly ServiceName[] = ['git-receive-pack', 'git-upload-pack'];

/**
 * `duplex`: a conversation, as over ssh. Over HTTP it is cut in two requests: `advertise`, what refs there are, and
 * `stateless`, the rest.
 */
export type ServiceMode = 'duplex' | 'advertise' | 'stateless';

interface ServiceOptions {
  mode: ServiceMode;
  /** the version of git's protocol that the client asks for, such as `version=2`; may be anything that it has sent */
  protocol: string;
  /** the most bytes that a push may send */
  maxInput: number;
}

/** A git process that serves one client. */
export interface GitService {
  input: Writable;
  output: Readable;
  /** for a push: what its pre-receive hook asks of us */
  hook: HookPort;
  /** when the process is gone, whoever may still hold its streams */
  exited: Promise<void>;
  /** when it is over and all that it wrote has been read; what it complained about is in `complaint` */
  ended: Promise<{ code: number | null; complaint: string }>;
  kill(): void;
}

/**
 * Whatever could refuse a ref after the hook has let it pass must not: by then the release is live. Its garbage is
 * collected at another time. A line or a sign of life every second tells us soon of a client that is gone.
 */
const gitSettings = [
  'receive.denyNonFastForwards=false',
  'receive.denyDeletes=false',
  'receive.denyDeleteCurrent=ignore',
  'receive.shallowUpdate=true',
  'receive.autogc=false',
  'receive.keepAlive=1',
  // One ref that git cannot set would take the branch that is live with it.
  'receive.advertiseAtomic=false',
  `transfer.hideRefs=${kept.replace(/\/$/, '')}`,
  'core.logAllRefUpdates=false',
];

/** Of git: keys and values, as in `version=2:object-format=sha1`. */
const protocolWords = /^[\w=:.-]{1,100}$/;

/** How long a client may stand still while it fetches, in seconds. */
const fetchTimeout = 60;

/** Time between SIGTERM and SIGKILL, in ms. */
const killDelay = 2000;

/** Starts git's own program for one client. It is told nothing but where the repository is. @throws AppError `git_missing` */
export async function startService(
  repository: string,
  service: ServiceName,
  { mode, protocol, maxInput }: ServiceOptions,
): Promise<GitService> {
  const settings = [...gitSettings, `receive.maxInputSize=${maxInput}`];
  const flags = {
    duplex: [],
    advertise: ['--stateless-rpc', '--advertise-refs'],
    stateless: ['--stateless-rpc'],
  };
  const args = [
    ...settings.flatMap((setting) => ['-c', setting]),
    service.slice('git-'.length),
    ...(service === 'git-upload-pack' ? ['--strict', `--timeout=${fetchTimeout}`] : []),
    ...flags[mode],
    repository,
  ];
  const child = spawn('git', args, {
    env: gitEnvironment({ SLUICE_PUSH: '1', GIT_PROTOCOL: protocolWords.test(protocol) ? protocol : '' }),
    // The last two go through git to the hook, which inherits them: see hooks/pre-receive.
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<{ code: number | null; complaint: string }>((resolve) => {
    child.once('close', (code) => resolve({ code, complaint: complaint.trim() }));
  });
  let complaint = '';
  // Before anything of it is touched: where the system has no room for one more process, it has no streams.
  await once(child, 'spawn').catch((error: unknown) => {
    throw explainStart(error) ?? error;
  });
  lower(child);
  const [input, output, errors, hook, verdict] = child.stdio as unknown as [
    Writable,
    Readable,
    Readable,
    Duplex,
    Duplex,
  ];
  errors.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-4000);
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = () => void endProcess(child, exited);
  return { input, output, hook: new HookPort(hook, verdict), exited, ended, kill };
}

/** Gently first: git then ends what it has started, too. */
async function endProcess(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.kill('SIGTERM');
  if ((await withDeadline(exited, killDelay)).timedOut) child.kill('SIGKILL');
}
