import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isHashed } from '../../src/static/hashed.cjs';

const hashed = [
  // create-react-app, webpack
  'static/js/main.8c1b2a3d.js',
  'static/js/453.8c1b2a3d.chunk.js',
  'static/media/logo.6ce24c58023cc2f8fd88f9d219db6c17.svg',
  // Vite, Rollup
  'assets/index-DiwrgTda.css',
  'assets/vendor-B1_x-9Qz.js',
  // VitePress
  'assets/guide_index.md.B1cD2e3F.lean.js',
  // Angular with esbuild
  'main-7V6NPQ5K.js',
  'chunk-ABCDEFGH.js',
  'styles-5INURTSO.css.map',
  // Gatsby, Ember
  'framework-0f1e2d3c4b5a69788796.js',
  'assets/app-d41d8cd98f00b204e9800998ecf8427e.css',
  // SvelteKit, Next.js, Nuxt, Astro: by directory
  '_app/immutable/entry/start.js',
  '_next/static/abc/_buildManifest.js',
  'docs/_next/static/chunks/1.js',
  '_nuxt/entry.css',
  '_astro/page.css',
];

const notHashed = [
  'index.html',
  'favicon.ico',
  'jquery.min.js',
  'assets/bootstrap-datepicker.js',
  'assets/ProductOverview.png',
  'assets/product-Overview.png',
  'assets/product-BlueBird.png',
  'assets/holiday-photo123.jpg',
  'assets/report-20240131.pdf',
  'assets/report-v1-final.pdf',
  'assets/camera-DSC00012.jpg',
  'assets/LOGO-BACKDROP.png',
  'assets/deadbeef.js',
  'assets/jquery-3.7.1.js',
  'assets/vendor-react-18.js',
  'assets/page-Overview.js',
  '_nuxt/builds/latest.json',
  '_app/version.json',
];

test('only names with a hash of the content are taken as such', () => {
  assert.deepEqual(
    hashed.filter((path) => !isHashed(path)),
    [],
  );
  assert.deepEqual(notHashed.filter(isHashed), []);
});
