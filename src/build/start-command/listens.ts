import { type Project, readText } from './project.ts';
import { importedSources } from './sources.ts';

/** Text of a file that starts a server itself, or that runs as a program. */
const starts = /\blisten\b|\brequire\.main\b|\bimport\.meta\.main\b/;

/** Returns true if the text of a file seems to start a server. */
export function startsServer(text: string): boolean {
  return starts.test(text);
}

/**
 * Returns true if a file, or a file that it imports, seems to start a server.
 * @param file relative to the release
 */
export async function listens({ root }: Pick<Project, 'root'>, file: string): Promise<boolean> {
  // The search through imports leaves out large files, so the file itself is searched first.
  if (startsServer((await readText({ root }, file)) ?? '')) return true;
  for (const { text } of importedSources(root, [[file]])) if (startsServer(text)) return true;
  return false;
}
