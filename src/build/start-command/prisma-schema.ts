import { readAppTextIfAny } from '../../system/fs/read-file.ts';

/** Paths of the schema of Prisma, also as Keystone writes it. */
const paths = [
  'prisma/schema.prisma',
  'schema.prisma',
  'prisma/schema/schema.prisma',
  'src/prisma/schema.prisma',
];
/** Limit of the size of a schema that is read, in bytes. */
const largest = 1024 * 1024;

/** Returns the path of a schema of Prisma whose database is SQLite; undefined if there is none, or none that can be read. */
export async function sqliteSchema(directory: string): Promise<string | undefined> {
  for (const path of paths) {
    const text = (await readAppTextIfAny(directory, path, largest)) ?? '';
    if (/^[ \t]*provider[ \t]*=[ \t]*"sqlite"/m.test(text)) return path;
  }
  return undefined;
}
