import { backup, DatabaseSync } from 'node:sqlite';

/**
 * A program of its own, so that it can be run as the owner of the database: what SQLite puts beside it must not belong
 * to root. Arguments: the database, the file to write, and how many pages to copy without a pause.
 *
 * Between two pauses nobody can write, unless the database is in WAL mode: then nobody is ever held up, and all is copied
 * in one go.
 */
const [source = '', destination = '', pages = ''] = process.argv.slice(2);
try {
  const database = new DatabaseSync(source, { readOnly: true, timeout: 5000 });
  await backup(database, destination, { rate: Number(pages) });
  database.close();
} catch (error) {
  // Without a stack: people read it in a note.
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
