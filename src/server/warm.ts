/**
 * Fills the compile cache with all modules of the server and the runner, in a process that runs before `sluice up` and then ends.
 * Stripping types takes 17 MB of memory that a process never gives back. A process that finds all modules in the cache does not
 * strip types.
 */
import { flushCompileCache } from 'node:module';
import '../runner/main.ts';
import '../build/failures/boot-error.ts';
import '../build/failures/command-error.ts';
import '../build/receive/unpacker.ts';
import { nodeCron } from '../system/process/footprint.ts';
import './unit.ts';
import './up.ts';

nodeCron();
flushCompileCache();
