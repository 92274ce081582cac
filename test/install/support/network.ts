import { writeFile } from 'node:fs/promises';
import { attempt, run } from './command.ts';

/**
 * A network namespace with an address of its own, which reaches others of its kind and the internet through this
 * machine; from here it is reached at `address`, and from there this machine at `host`.
 */
export class Network {
  readonly name: string;
  readonly address: string;
  readonly host: string;
  readonly #index: number;

  private constructor(name: string, index: number) {
    this.name = name;
    this.#index = index;
    this.address = `10.214.${index}.2`;
    this.host = `10.214.${index}.1`;
  }

  static async create(name: string): Promise<Network> {
    await run('ip', ['netns', 'add', name]);
    const network = new Network(name, await connect(name));
    try {
      await network.#configure();
      return network;
    } catch (error) {
      await network.remove();
      throw error;
    }
  }

  /** The arguments that run a program in it, to be followed by the program. */
  static enter(name: string): string[] {
    return ['ip', 'netns', 'exec', name];
  }

  async remove(): Promise<void> {
    await attempt('nft', ['delete', 'table', 'ip', table(this.#index)]);
    await removeNetwork(this.name);
  }

  async #configure(): Promise<void> {
    const here = device(this.#index);
    const inside = (...args: string[]) => run('ip', ['-netns', this.name, ...args]);
    await run('ip', ['address', 'add', `${this.host}/24`, 'dev', here]);
    await run('ip', ['link', 'set', here, 'up']);
    await inside('link', 'set', 'lo', 'up');
    await inside('address', 'add', `${this.address}/24`, 'dev', 'eth0');
    await inside('link', 'set', 'eth0', 'up');
    await inside('route', 'add', 'default', 'via', this.host);
    await forward(here);
    const uplink = /\bdev (\S+)/.exec(await run('ip', ['-4', 'route', 'show', 'default']))?.[1];
    if (uplink === undefined)
      throw new Error('this machine has no default route: guests would reach nothing');
    await forward(uplink);
    const chain = 'type nat hook postrouting priority 100;';
    const rule = `ip saddr 10.214.${this.#index}.0/24 oifname "${uplink}" masquerade`;
    await run('nft', [`table ip ${table(this.#index)} { chain post { ${chain} ${rule}; }; }`]);
  }
}

/** Takes what is left of one of an earlier run away. */
export async function removeNetwork(name: string): Promise<void> {
  const { code, stderr } = await attempt('ip', ['netns', 'delete', name]);
  if (code !== 0 && !stderr.includes('No such file')) throw new Error(`ip netns delete ${name}: ${stderr}`);
}

/** A pair of devices, one of them in there: the first number that nobody has. */
async function connect(name: string): Promise<number> {
  for (let index = 1; index < 255; index += 1) {
    const peer = ['peer', 'name', 'eth0', 'netns', name];
    const { code, stderr } = await attempt('ip', ['link', 'add', device(index), 'type', 'veth', ...peer]);
    if (code === 0) {
      // Of an earlier run that was killed.
      await attempt('nft', ['delete', 'table', 'ip', table(index)]);
      return index;
    }
    if (!stderr.includes('File exists')) throw new Error(`this machine makes no network: ${stderr}`);
  }
  throw new Error('all networks for guests are taken');
}

/** Stays on afterwards: others on this machine may have come to rest on it. */
async function forward(name: string): Promise<void> {
  await writeFile(`/proc/sys/net/ipv4/conf/${name}/forwarding`, '1');
}

function device(index: number): string {
  return `slctest${index}`;
}

function table(index: number): string {
  return `sluice_test_${index}`;
}
