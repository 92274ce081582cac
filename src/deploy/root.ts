import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type AppSettings, loadAppSettings, readAppSettings, topOf } from '../config/app-settings.ts';
import { AppError } from '../errors/app-error.ts';

/** Settings that are about a repository as a whole, and stand at its top. */
const ofRepository: readonly (keyof AppSettings)[] = ['root', 'branches', '$schema'];

/**
 * Which directory of what was sent is the release of `app`: what `root` at its top says, relative to it; empty for all
 * of it. Settings that would then not be looked at are told, and not passed over.
 * @throws AppError `invalid_settings`
 */
export async function rootOf(tree: string, app: string): Promise<string> {
  const { value } = await readAppSettings(topOf(tree));
  if (typeof value !== 'object' || value === null || !('root' in value)) return '';
  const settings = await loadAppSettings(topOf(tree));
  if (settings.root === undefined) return '';
  const root = typeof settings.root === 'string' ? settings.root : ownValue(settings.root, app);
  if (root === undefined) {
    const others = Object.keys(settings.root);
    throw fault(
      `"root" names no directory for the app ${app}`,
      `It has ${others.join(', ') || 'none'}. Add "${app}": "DIRECTORY" to it, or push to the app that you mean.`,
    );
  }
  const directory = join(tree, root);
  // One that is not there is told about by whoever goes there: it may lie behind a link, which is not made yet.
  if (!(await isDirectory(directory))) return root;
  const own = await loadAppSettings(topOf(directory));
  const misplaced = ofRepository.filter((name) => name !== '$schema' && own[name] !== undefined);
  if (misplaced.length > 0) {
    throw fault(
      `${root} has settings of its own for ${quoted(misplaced)}, which are about the whole repository`,
      'Move them into the sluice.json at its top.',
    );
  }
  const ignored = Object.keys(value).filter((name) => !(ofRepository as readonly string[]).includes(name));
  if (ignored.length > 0) {
    throw fault(
      `"root" says that the app lies in ${root}, and ${quoted(ignored)} beside it would not be looked at`,
      `Move them into ${root}/sluice.json.`,
    );
  }
  return root;
}

/** Not what every object has, such as `constructor`. */
function ownValue(record: Record<string, string>, name: string): string | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

async function isDirectory(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isDirectory() ?? false;
}

function quoted(names: string[]): string {
  return names.map((name) => `"${name}"`).join(', ');
}

function fault(message: string, hint: string): AppError {
  return new AppError('invalid_settings', message, { hint });
}
