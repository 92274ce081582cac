'use strict';

/*
 * Loaded before an app whose server sends only files that its own build has listed, as those of Nitro and SvelteKit do. Answers
 * requests for hashed files of earlier releases, which Sluice has linked into the release. Runs on the Node.js of the app.
 */

const { statSync } = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { basename, join } = require('node:path');
const send = require('send');
const { isHashed } = require('./hashed.cjs');

/** Variable with the directories. Children of a worker do not get the variable, except in exec mode: any of them may listen. */
const variable = 'SLUICE_EARLIER_ASSETS';

/** Absolute directories, and the end of their URL. @type {{ directory: string, url: string }[]} */
const places = JSON.parse(process.env[variable] ?? '[]');
if (process.env['SLUICE_WORKER'] === undefined) {
  delete process.env[variable];
  const own = process.execArgv.indexOf(__filename);
  if (own > 0) process.execArgv.splice(own - 1, 2);
}

for (const { prototype } of places.length > 0 ? [http.Server, https.Server] : []) {
  const { emit } = prototype;
  prototype.emit = function emitOrAnswer(/** @type {any[]} */ ...args) {
    const [event, request, response] = args;
    if (event === 'request' && answer(request, response)) return true;
    return Reflect.apply(emit, this, args);
  };
}

/**
 * Answers a request for a file of an earlier release. Returns false for all other requests.
 * @param {http.IncomingMessage} request
 * @param {http.ServerResponse} response
 * @returns {boolean}
 */
function answer(request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  const [path = ''] = (request.url ?? '').split('?', 1);
  for (const { directory, url } of places) {
    const at = path.indexOf(url);
    const name = at === -1 ? undefined : decode(path.slice(at + url.length));
    if (name === undefined || !isImmutable(url, name) || !isEarlier(join(directory, name))) continue;
    const options = { root: directory, index: false, immutable: true, maxAge: '365d', lastModified: false };
    send(request, encodeURIComponent(name), options).pipe(response);
    return true;
  }
  return false;
}

/** @param {string} path @returns {string | undefined} */
function decode(path) {
  try {
    const name = decodeURIComponent(path);
    return name.split('/').some((part) => part.startsWith('.')) || name.includes('\0') ? undefined : name;
  } catch {
    return undefined;
  }
}

/**
 * Returns true for a file whose content never changes: a build may also write other files without write permissions.
 * @param {string} url @param {string} name
 */
function isImmutable(url, name) {
  // Nuxt has JSON files with a hash, and one without.
  return isHashed(url + name) || isHashed(basename(name));
}

/**
 * Returns true for a file that Sluice has linked: such files have no write permissions.
 * @param {string} path
 * @returns {boolean}
 */
function isEarlier(path) {
  try {
    const stats = statSync(path);
    return stats.isFile() && (stats.mode & 0o222) === 0;
  } catch {
    return false;
  }
}
