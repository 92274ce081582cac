import { existsSync } from 'node:fs';
import { AppError } from '../errors/app-error.ts';

/** Debian and Ubuntu always have it. It makes calls to the kernel that Node.js does not offer. */
export const perl = '/usr/bin/perl';

/** @throws AppError `perl_missing` */
export function assertPerl(): void {
  if (process.platform === 'linux' && existsSync(perl)) return;
  throw new AppError('perl_missing', `the server cannot run one-off commands without ${perl}`, {
    hint: `One-off commands need Linux and ${perl} on the server (Debian: apt-get install perl-base). With \`--detach\` they run without perl.`,
  });
}
