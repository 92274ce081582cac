'use strict';

const { createHash } = require('node:crypto');
const { readFile, stat } = require('node:fs/promises');
const { STATUS_CODES } = require('node:http');
const { join } = require('node:path');
const send = require('send');
const { isHashed } = require('./hashed.cjs');

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */
/** @typedef {import('node:fs').Stats} Stats */

/**
 * Static site of a release.
 * @typedef {object} Site
 * @property {string} directory relative to the release; `.` for the release itself
 * @property {string | null} fallback page for navigations to paths without a file, such as `index.html`; null for none
 * @property {string} base path under which the pages expect the site, with slashes at both ends: `/`, or `/docs/`
 */

/** File of a site. @typedef {{ name: string, stats: Stats }} Found */

/** Files that servers look for in a directory. */
const indexes = ['index.html', 'index.htm'];

/** Suffixes of compressed variants, the smaller ones first. */
const variants = [
  { suffix: '.br', coding: 'br' },
  { suffix: '.gz', coding: 'gzip' },
];

/** Files for package managers and for Sluice. A site in the root of the release does not show them. */
const ofTheRelease = new Set([
  'sluice.json',
  'package.json',
  'package-lock.json',
  'npm-shrinkwrap.json',
  'pnpm-lock.yaml',
  'pnpm-workspace.yaml',
  'yarn.lock',
  'bun.lock',
  'bun.lockb',
  'Procfile',
  'Dockerfile',
]);

/** Largest file whose content makes the ETag, in bytes. */
const maxHashed = 4 * 1024 ** 2;

/**
 * Returns the request listener of a static site.
 * @param {Site} site
 * @param {string} release absolute path
 * @returns {(request: Request, response: Response) => void}
 */
function serveSite(site, release) {
  const root = join(release, site.directory);
  const isReleaseRoot = site.directory === '.';
  /** ETags by file name, and the state of the file that has the tag @type {Map<string, { state: string, tag: string }>} */
  const tags = new Map();

  return (request, response) => {
    answer(request, response).catch((error) => {
      process.stderr.write(`${request.method} ${request.url}: ${error}\n`);
      refuse(response, 500);
    });
  };

  /** @param {Request} request @param {Response} response */
  async function answer(request, response) {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return refuse(response, 405, { allow: 'GET, HEAD' });
    const { path, query } = splitTarget(request.url ?? '/');
    const decoded = decode(path);
    if (decoded === undefined) return refuse(response, 400);
    const { base } = site;
    if (base !== '/' && (decoded === '/' || `${decoded}/` === base))
      return redirect(response, base + query, 302);
    const local = decoded.startsWith(base) ? decoded.slice(base.length) : decoded;
    const names = local.split('/').filter((name) => name !== '');
    const name = names.join('/');
    if (isHidden(names)) return notFound(request, response);
    const found = await find(name, local === '' || local.endsWith('/'));
    if (found === 'directory') {
      const mount = decoded.startsWith(base) ? base : '/';
      return redirect(
        response,
        `${mount}${encodeURI(name).replace(/[?#]/g, encodeURIComponent)}/${query}`,
        301,
      );
    }
    if (found !== undefined) return deliver(request, response, found, 200);
    const page =
      site.fallback !== null && isNavigation(request, path) ? await fileAt(site.fallback) : undefined;
    if (page !== undefined) return deliver(request, response, page, 200);
    return notFound(request, response);
  }

  /** @param {string[]} names of a path @returns {boolean} */
  function isHidden(names) {
    const [first = '', ...others] = names;
    if (others.some((name) => name.startsWith('.'))) return true;
    if (first.startsWith('.') && first !== '.well-known') return true;
    return isReleaseRoot && others.length === 0 && ofTheRelease.has(first);
  }

  /**
   * Finds the file for a path. Without a slash at its end, a directory with an index is not a file: relative links in the page
   * need the slash.
   * @param {string} name
   * @param {boolean} hasSlash
   * @returns {Promise<Found | 'directory' | undefined>}
   */
  async function find(name, hasSlash) {
    const file = hasSlash ? undefined : await fileAt(name);
    const index = file ?? (await firstFile(indexes.map((each) => join(name, each))));
    if (hasSlash && index !== undefined) return index;
    const page = file ?? (name === '' ? undefined : await fileAt(`${name}.html`));
    return page ?? (index && 'directory');
  }

  /** @param {string[]} names @returns {Promise<Found | undefined>} */
  async function firstFile(names) {
    for (const name of names) {
      const found = await fileAt(name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** @param {string} name relative to the site @returns {Promise<Found | undefined>} */
  async function fileAt(name) {
    try {
      const stats = await stat(join(root, name));
      return stats.isFile() ? { name, stats } : undefined;
    } catch (error) {
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP', 'EACCES'].includes(code ?? '')) return undefined;
      throw error;
    }
  }

  /** @param {Request} request @param {Response} response */
  async function notFound(request, response) {
    const page = await firstFile(['404.html', '404/index.html']);
    if (page === undefined) return refuse(response, 404);
    return deliver(request, response, page, 404);
  }

  /**
   * Sends a file, or its compressed variant. A page for an error has no ranges, and browsers do not keep it.
   * @param {Request} request
   * @param {Response} response
   * @param {Found} file
   * @param {200 | 404} status
   */
  async function deliver(request, response, file, status) {
    const compressed = await compressedVariants(file.name);
    const variant = compressed.find(({ coding }) => acceptsCoding(request, coding));
    const sent = variant ?? file;
    const isFixed = status === 200 && isHashed(file.name);
    const tag = await tagOf(sent, isFixed);
    // Browsers send `no-cache` with the conditions of a script. `send` would then ignore the conditions.
    delete request.headers['cache-control'];
    // The root is a directory of the site, so a dot at the beginning of a name is no secret here: see `isHidden`.
    const stream = send(request, encodeURIComponent(sent.name), {
      root,
      index: false,
      dotfiles: 'allow',
      cacheControl: false,
      // A rollback brings older files: a client that compares times would keep the newer ones.
      lastModified: false,
      acceptRanges: status === 200,
    });
    stream.on('headers', () => {
      stream.type(file.name);
      response.setHeader('ETag', tag);
      response.setHeader('Cache-Control', isFixed ? 'public, max-age=31536000, immutable' : 'no-cache');
      if (compressed.length > 0) response.setHeader('Vary', 'Accept-Encoding');
      if (variant !== undefined) response.setHeader('Content-Encoding', variant.coding);
    });
    stream.on('error', (/** @type {import('http-errors').HttpError} */ error) =>
      refuse(response, error.statusCode, error.headers),
    );
    response.statusCode = status;
    stream.pipe(response);
  }

  /** @param {string} name @returns {Promise<(Found & { coding: string })[]>} */
  async function compressedVariants(name) {
    const found = await Promise.all(
      variants.map(async ({ suffix, coding }) => {
        const file = await fileAt(name + suffix);
        return file && { ...file, coding };
      }),
    );
    return found.filter((each) => each !== undefined);
  }

  /**
   * Returns the ETag of a file. It depends on the content, so that browsers keep a file that a deploy has not changed, and never
   * take an old file for a new one: some builds give all files the same time.
   * @param {Found} file
   * @param {boolean} isFixed true if the name of the file already depends on the content
   * @returns {Promise<string>}
   */
  async function tagOf({ name, stats }, isFixed) {
    const state = [stats.size, Math.trunc(stats.mtimeMs), stats.ino]
      .map((value) => value.toString(36))
      .join('-');
    if (isFixed || stats.size > maxHashed) return `"${state}"`;
    const known = tags.get(name);
    if (known?.state === state) return known.tag;
    const content = await readFile(join(root, name));
    const tag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 27)}"`;
    tags.set(name, { state, tag });
    return tag;
  }
}

/** @param {string} target of a request @returns {{ path: string, query: string }} the query with its question mark, or '' */
function splitTarget(target) {
  const local = target.replace(/^https?:\/\/[^/?]*/i, '');
  const at = local.indexOf('?');
  return at === -1 ? { path: local, query: '' } : { path: local.slice(0, at), query: local.slice(at) };
}

/** @param {string} path @returns {string | undefined} undefined for a path that no file can have */
function decode(path) {
  try {
    const decoded = decodeURIComponent(path);
    return decoded.startsWith('/') && !decoded.includes('\0') ? decoded : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns true if a browser may be going to a page of the app. A missing script or image must not get a page, and neither must
 * a request of a script of the page.
 * @param {Request} request
 * @param {string} path
 * @returns {boolean}
 */
function isNavigation({ headers }, path) {
  const { accept = '*/*' } = headers;
  if (accept.includes('text/html')) return true;
  const isOfPage = headers['sec-fetch-dest'] !== undefined;
  return accept.includes('*/*') && !isOfPage && !path.slice(path.lastIndexOf('/')).includes('.');
}

/** @param {Request} request @param {string} coding @returns {boolean} */
function acceptsCoding({ headers }, coding) {
  const accepted = String(headers['accept-encoding'] ?? '').split(',');
  return accepted.some((each) => {
    const [name = '', weight = ''] = each.split(';');
    return name.trim().toLowerCase() === coding && !/^\s*q=0(?:\.0*)?\s*$/i.test(weight);
  });
}

/** @param {Response} response @param {string} location @param {301 | 302} status */
function redirect(response, location, status) {
  response.writeHead(status, { location, 'cache-control': 'no-cache', 'content-length': 0 }).end();
}

/**
 * Answers without a file. Closes a connection on which a part of a file has been sent.
 * @param {Response} response
 * @param {number} status
 * @param {Record<string, string>} [headers]
 */
function refuse(response, status, headers = {}) {
  if (response.headersSent) return response.destroy();
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  const text = `${status} ${STATUS_CODES[status]}\n`;
  const length = Buffer.byteLength(text);
  response.writeHead(status, {
    ...headers,
    'content-type': 'text/plain; charset=utf-8',
    'content-length': length,
  });
  response.end(text);
  return response;
}

module.exports = { serveSite };
