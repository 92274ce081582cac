/**
 * Loads what the server and the runner load, sooner or later, and ends: run once in a process of its own before `sluice up`, it fills the
 * compile cache. Stripping types costs 17 MB of memory that a process never gives back, and one that finds all its
 * modules in the cache does not do it.
 */
import { flushCompileCache } from 'node:module';
import '../runner/main.ts';
import '../build/receive/unpacker.ts';
import { nodeCron } from '../system/node-cron.ts';
import './unit.ts';
import './up.ts';

nodeCron();
flushCompileCache();
