'use strict';

/** Directories in which a tool writes only files with a hash in their name, or below a directory with a hash. */
const reserved = /(?:^|\/)(?:_app\/immutable|_next\/static|_nuxt|_astro)\//;

/** Hash at the end of a file's name, as in `main.8c1b2a3d.js`, `index-DiwrgTda.css` or `guide.md.B1cD2e3F.lean.js`. */
const hash = /[.-](?<hash>[\w-]{8}|[0-9a-f]{9,64})(?:\.[a-z][a-z0-9]{0,9}){1,3}$/i;

/**
 * Returns true if the name of a file has a hash of its content, so that the content under this name never changes. Rather
 * misses a hash than takes a word or a date for one: browsers would keep an old file for a year.
 * @param {string} path relative to the site, with slashes
 * @returns {boolean}
 */
function isHashed(path) {
  // Nuxt has a file `_nuxt/builds/latest.json`.
  if (reserved.test(path)) return !path.endsWith('.json');
  const found = hash.exec(path.slice(path.lastIndexOf('/') + 1))?.groups?.['hash'];
  if (found === undefined) return false;
  if (/^[0-9a-f]+$/i.test(found)) return /\d/.test(found) && /[a-f]/i.test(found);
  if (/\.(?:m?js|css)(?:\.map)?$/.test(path)) return /.[A-Z]|^[A-Z]\d/.test(found);
  return /[a-z]/.test(found) && /[A-Z]/.test(found) && !isWord(found);
}

/** @param {string} text such as `BlueBird` or `Section_2` @returns {boolean} */
function isWord(text) {
  return /^[A-Za-z]+[-_]?\d*$/.test(text) && !/[A-Z]{2}/.test(text);
}

module.exports = { isHashed };
