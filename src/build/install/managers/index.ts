import type { Manager } from '../versions.ts';
import type { Commands } from './commands.ts';
import { npm } from './npm.ts';
import { pnpm } from './pnpm.ts';
import { yarnBerry } from './yarn-berry.ts';
import { yarnClassic } from './yarn-classic.ts';

export const managers: Record<Manager, Commands> = {
  npm,
  pnpm,
  'yarn-classic': yarnClassic,
  'yarn-berry': yarnBerry,
};
