/**
 * Evaluates a configuration file of PM2, and prints its value as JSON: `node evaluate.cjs MARK FILE ENVIRONMENT`, in the directory
 * in which PM2 would run. Runs in a process of its own, with limits: see evaluation.ts. The result follows MARK on descriptor 3. The file may be
 * hostile, so this program keeps the functions that it needs before it loads the file.
 */
const { readFileSync, writeSync } = require('node:fs');
const { createRequire } = require('node:module');
const { resolve } = require('node:path');
const { pathToFileURL } = require('node:url');
const { types } = require('node:util');
const { runInThisContext } = require('node:vm');

const [, , mark = '', name = '', environment = ''] = process.argv;
const file = resolve(name);
const { stringify } = JSON;
const { isArray } = Array;
const { keys, create } = Object;
const isFiniteNumber = Number.isFinite;
const exit = /** @type {any} */ (process).reallyExit.bind(process);

/** Limits of the value: of the texts in it, in characters, of its parts, and of its depth. */
const most = { characters: 100_000, parts: 20_000, depth: 20 };

/** Value that is not usable. The message follows the name of the file. */
class Unusable extends Error {}

// Programs read what follows `pm2 start`.
process.argv = [process.argv[0] ?? 'node', 'pm2', 'start', name, '--env', environment];
process.on('uncaughtException', (error) => end(failureOf(error)));
load().then(
  ({ value }) => end(resultOf(value)),
  (error) => end(failureOf(error)),
);

/** @param {object} result */
function end(result) {
  const text = `\n${mark}${stringify(result)}\n`;
  // The pipe takes all of it: a process that reads waits.
  for (let rest = Buffer.from(text); rest.length > 0; ) rest = rest.subarray(writeSync(3, rest));
  // Neither timers nor listeners of the file keep the process alive.
  exit(0);
}

/** Loads the file as PM2 does. Returns an object, because a promise in it must not be waited for. */
async function load() {
  if (/\.ya?ml$/.test(name)) {
    const { load: parse, CORE_SCHEMA, mergeTag } = await import('js-yaml');
    return { value: parse(readFileSync(file, 'utf8'), { schema: CORE_SCHEMA.withTags(mergeTag) }) };
  }
  if (/\.json5?$/.test(name))
    return { value: runInThisContext(`(${readFileSync(file, 'utf8')}\n)`, { filename: file }) };
  if (/\.m[jt]s$/.test(name)) return { value: exportOf(await import(pathToFileURL(file).href)) };
  try {
    return { value: exportOf(createRequire(file)(file)) };
  } catch (error) {
    // A module with `await` at its top.
    if (codeOf(error) !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return { value: exportOf(await import(pathToFileURL(file).href)) };
  }
}

/**
 * Returns the value that a module exports.
 * @param {any} exported
 */
function exportOf(exported) {
  const isModule = types.isModuleNamespaceObject(exported) || exported?.__esModule === true;
  return isModule && exported.default !== undefined ? exported.default : exported;
}

/** @param {unknown} value */
function resultOf(value) {
  if (typeof value === 'function') throw new Unusable('exports a function, which PM2 does not call');
  if (types.isPromise(value)) throw new Unusable('exports a promise, which PM2 does not wait for');
  if (typeof value !== 'object' || value === null)
    throw new Unusable(`exports ${value === null ? 'null' : `a value of type ${typeof value}`}`);
  return { value: new Copy().of(value) };
}

/** Copy of a value with texts, numbers, booleans, lists and plain objects. Leaves out everything else. */
class Copy {
  #parts = 0;
  #characters = 0;
  /** @type {object[]} objects that contain the present one */
  #above = [];

  /**
   * @param {unknown} value
   * @returns {unknown} undefined if the value has no copy
   */
  of(value) {
    this.#parts += 1;
    if (this.#parts > most.parts) throw new Unusable(`has more than ${most.parts} values`);
    if (value === null || typeof value === 'boolean') return value;
    if (typeof value === 'number') return isFiniteNumber(value) ? value : undefined;
    if (typeof value === 'string') return this.#text(value);
    if (typeof value !== 'object') return undefined;
    if (types.isDate(value)) return this.#text(value.toISOString());
    if (types.isRegExp(value) || this.#above.includes(value)) return undefined;
    if (this.#above.length >= most.depth) throw new Unusable(`has objects in more than ${most.depth} levels`);
    this.#above.push(value);
    const copy = isArray(value) ? this.#list(value) : this.#object(value);
    this.#above.pop();
    return copy;
  }

  /** @param {string} text */
  #text(text) {
    this.#characters += text.length;
    if (this.#characters > most.characters)
      throw new Unusable(`has texts of more than ${most.characters} characters`);
    return text;
  }

  /** @param {unknown[]} list */
  #list(list) {
    const { length } = list;
    if (length > most.parts) throw new Unusable(`has more than ${most.parts} values`);
    /** @type {unknown[]} */
    const copy = [];
    for (let at = 0; at < length; at += 1) copy[at] = this.of(list[at]) ?? null;
    return copy;
  }

  /** @param {object} object */
  #object(object) {
    const copy = create(null);
    const names = keys(object);
    if (names.length > most.parts) throw new Unusable(`has more than ${most.parts} values`);
    for (const key of names) {
      if (key === '__proto__') continue;
      const value = this.of(/** @type {Record<string, unknown>} */ (object)[key]);
      if (value !== undefined) copy[this.#text(key)] = value;
    }
    return copy;
  }
}

/**
 * Describes what the file has thrown.
 * @param {any} error
 */
function failureOf(error) {
  try {
    if (error instanceof Unusable) return { unusable: error.message };
    const isError = types.isNativeError(error);
    const message = isError
      ? `${error.name}: ${error.message}`
      : `throws ${stringify(error) ?? `${typeof error}`}`;
    const missing = isError && missingModule.test(codeOf(error)) ? moduleOf(error) : undefined;
    const line = isError ? lineIn(error) : undefined;
    return { failed: cut(message), ...(line && { line }), ...(missing && { missing: cut(missing) }) };
  } catch {
    // A getter or a proxy of the file.
    return { failed: 'throws a value that cannot be described' };
  }
}

const missingModule = /^(?:ERR_)?MODULE_NOT_FOUND$/;

/** @param {any} error */
function codeOf(error) {
  return typeof error?.code === 'string' ? error.code : '';
}

/**
 * Returns the name of a module that was not found.
 * @param {Error} error
 */
function moduleOf({ message }) {
  return /^Cannot find (?:module|package) '([^'\n]+)'/.exec(message)?.[1];
}

/**
 * Returns the line of the file that has thrown an error.
 * @param {Error} error
 */
function lineIn({ stack }) {
  const after = `${stack}`.split(file)[1];
  return Number(/^:(\d+)/.exec(after ?? '')?.[1] ?? 0);
}

/** @param {string} text */
function cut(text) {
  return `${text}`.slice(0, 1000);
}
