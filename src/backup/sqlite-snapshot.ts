import { backup, DatabaseSync } from 'node:sqlite';

/**
 * Copies a database. A program of its own, so that it runs as the owner of the database: the files that SQLite puts beside the
 * database must not belong to root. Arguments: the database, the copy, and the number of pages between two pauses.
 *
 * Between two pauses nobody can write, unless the database is in WAL mode: SQLite then copies all pages at once.
 */
const [source = '', destination = '', pages = ''] = process.argv.slice(2);
try {
  const database = new DatabaseSync(source, { readOnly: true, timeout: 5000 });
  await backup(database, destination, { rate: Number(pages) });
  database.close();
} catch (error) {
  // Without a stack, since a note quotes the message.
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
