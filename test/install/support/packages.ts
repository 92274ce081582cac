import type { Guest } from './guest.ts';

/** Installs a package of Debian's, by the lists that are there, which are read anew where they are missing or too old. */
export async function installPackage(guest: Guest, name: string): Promise<void> {
  await guest.exec(
    `export DEBIAN_FRONTEND=noninteractive
    install() { apt-get -q install --yes --no-install-recommends ${name}; }
    install || { apt-get -q update && install; }`,
    { timeout: 180_000 },
  );
}
