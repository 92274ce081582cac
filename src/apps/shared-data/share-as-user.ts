import { errorBody } from '../../errors/app-error.ts';
import { linkShared } from './shared-paths.ts';

/** `linkShared` as a program, for the user of an app: arguments as JSON, and what comes of it as JSON. */
async function share(given: string): Promise<object> {
  const { tree, shared, paths, live } = JSON.parse(given) as Arguments;
  try {
    return { adopted: await linkShared(tree, shared, paths, live) };
  } catch (error) {
    return { error: errorBody(error) };
  }
}

interface Arguments {
  tree: string;
  shared: string;
  paths: string[];
  live?: string;
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await share(process.argv[2] ?? ''))}\n`);
