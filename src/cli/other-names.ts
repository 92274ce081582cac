import type { Command } from 'commander';

/** What other tools call our commands. */
const otherNames = new Map([
  ['ls', 'apps'],
  ['list', 'apps'],
  ['ps', 'status'],
  ['delete', 'destroy'],
  ['remove', 'destroy'],
  ['rm', 'destroy'],
  ['reload', 'restart'],
]);

/**
 * The arguments to parse. An unknown command stands alone in them: beside `--help` it would be taken for none, and the
 * general help for an answer.
 * @throws CommanderError for a name that is known from elsewhere, with ours
 */
export function withoutOtherNames(program: Command, argv: string[]): string[] {
  const name = argv[2] ?? '-';
  if (name.startsWith('-') || program.commands.some((command) => command.name() === name)) return argv;
  const meant = otherNames.get(name);
  if (meant === undefined) return argv.slice(0, 3);
  program.error(`error: unknown command '${name}'\n(Did you mean ${meant}?)`);
}
