/**
 * Programs that are certainly not Node.js, with the name of what they run. Sluice does not start them.
 */
export const otherLanguages: Record<string, string> = {
  ...named(
    'Python',
    'python python2 python3 gunicorn uvicorn flask django-admin celery streamlit poetry pipenv uv',
  ),
  ...named('Java', 'java gradle gradlew ./gradlew mvn mvnw ./mvnw sbt kotlin'),
  ...named('PHP', 'php php-fpm composer artisan frankenphp'),
  ...named('Ruby', 'ruby rails bundle rackup puma unicorn rake jekyll'),
  ...named('Go', 'go hugo'),
  ...named('Rust', 'cargo'),
  ...named('.NET', 'dotnet mono'),
  ...named('Elixir', 'mix elixir iex'),
  ...named('Perl', 'perl plackup'),
  ...named('Deno', 'deno'),
  ...named('Docker', 'docker docker-compose podman podman-compose'),
  ...named('a web server', 'nginx apache2 apachectl httpd caddy lighttpd'),
  ...named('systemd', 'systemctl service'),
  ...named('a desktop app', 'electron electron-forge electron-builder electron-vite tauri nw'),
  ...named('a mobile app', 'expo react-native ionic cordova'),
};

/** Programs of the system that may start Node.js in another process: only a shell can run them. */
export const systemPrograms = new Set(
  `sh bash dash zsh ksh make just task timeout flock script xvfb-run gosu su-exec setpriv runuser doppler op infisical
   chamber aws-vault sops litestream wait-for-it wait-for-it.sh dockerize supervisord s6-svscan runsvdir`.split(
    /\s+/,
  ),
);

/** Programs of packages that start the app in another process, with the reason for exec mode. */
export const startsOthers: Record<string, string> = {
  ...reasons('starts several processes', 'concurrently npm-run-all npm-run-all2 run-p run-s wireit'),
  ...reasons(
    'starts a script in another process',
    'ultra wsrun babel-node start-server-and-test nps madrun redrun better-npm-run bnr scripty npm-watch run-script-os run-os yarpm yarn-or-npm',
  ),
  ...reasons('starts processes of its own', 'egg-scripts node-foreman strongloop slc probot'),
};

/**
 * Development commands: subcommands by program, '' for none. They serve sources instead of a build, or watch files. Sluice
 * starts them only if nothing else is there to start, or if sluice.json says so.
 */
export const developmentCommands: Record<string, string[]> = {
  nest: ['start'],
  nuxt: ['', 'dev', 'start', 'preview'],
  nuxi: ['dev', 'start', 'preview'],
  nitro: ['dev', 'preview'],
  nitropack: ['dev', 'preview'],
  nx: ['serve', 's', 'dev'],
  vite: ['', 'dev', 'serve', 'preview', 'start'],
  'vite-node': ['--watch'],
  'react-scripts': ['start'],
  'react-app-rewired': ['start'],
  craco: ['start'],
  'vue-cli-service': ['serve'],
  ng: ['serve', 's', 'dev'],
  next: ['', 'dev'],
  astro: ['', 'dev', 'start', 'preview'],
  remix: ['dev', 'vite:dev'],
  'react-router': ['dev'],
  'svelte-kit': ['dev', 'preview'],
  'solid-start': ['dev', 'start'],
  vinxi: ['dev'],
  gatsby: ['develop', 'serve'],
  'webpack-dev-server': [''],
  webpack: ['serve', 'watch'],
  'webpack-cli': ['serve'],
  parcel: ['', 'serve', 'watch'],
  rsbuild: ['', 'dev', 'preview'],
  rspack: ['serve', 'dev'],
  ember: ['serve', 's', 'server'],
  eleventy: ['--serve', '--watch'],
  vitepress: ['', 'dev', 'preview', 'serve'],
  vuepress: ['dev'],
  docusaurus: ['start', 'serve'],
  hexo: ['server', 's'],
  quasar: ['dev'],
  umi: ['dev', 'start'],
  max: ['dev'],
  storybook: ['dev'],
  'start-storybook': [''],
  strapi: ['develop', 'dev'],
  medusa: ['develop'],
  keystone: ['dev', 'postinstall'],
  rw: ['dev'],
  redwood: ['dev'],
  adonis: ['serve'],
  waku: ['dev'],
  qwik: ['dev'],
  wrangler: ['dev', 'pages'],
  netlify: ['dev'],
  vercel: ['dev'],
  serverless: ['offline'],
  sls: ['offline'],
  firebase: ['serve', 'emulators:start'],
  'live-server': [''],
  'browser-sync': ['start'],
  gulp: ['', 'dev', 'develop', 'serve', 'server', 'start', 'watch'],
  grunt: ['', 'dev', 'develop', 'serve', 'server', 'start', 'watch'],
  tsc: ['--watch', '-w'],
  'tsc-watch': [''],
  tsup: ['--watch'],
  rollup: ['--watch', '-w', '-cw'],
  meteor: ['', 'run'],
};

/** Programs that build the app, with the subcommands that do; '*' for any. They run at the build, not at each start. */
export const builders: Record<string, string[]> = {
  tsc: ['*'],
  'tsc-alias': ['*'],
  'lb-tsc': ['*'],
  tsup: ['*'],
  tsdown: ['*'],
  swc: ['*'],
  babel: ['*'],
  esbuild: ['*'],
  browserify: ['*'],
  gulp: ['*'],
  grunt: ['*'],
  rollup: ['*'],
  webpack: ['', 'build', 'bundle'],
  'webpack-cli': ['', 'build'],
  parcel: ['build'],
  ncc: ['build'],
  vite: ['build'],
  next: ['build'],
  nuxt: ['build', 'generate'],
  nuxi: ['build', 'generate'],
  nest: ['build'],
  astro: ['build', 'check'],
  remix: ['build', 'vite:build'],
  'react-router': ['build'],
  'react-scripts': ['build'],
  craco: ['build'],
  rsbuild: ['build'],
  quasar: ['build'],
  ember: ['build'],
  'vue-cli-service': ['build'],
  ng: ['build'],
  gatsby: ['build'],
  strapi: ['build'],
  vinxi: ['build'],
  unbuild: ['*'],
  pkgroll: ['*'],
  copyfiles: ['*'],
  cpx: ['*'],
  eslint: ['*'],
  biome: ['*'],
  prettier: ['*'],
  sass: ['*'],
  lessc: ['*'],
  tailwindcss: ['*'],
  postcss: ['*'],
  svgo: ['*'],
  prisma: ['generate'],
  'graphql-codegen': ['*'],
  jest: ['*'],
  mocha: ['*'],
  vitest: ['*'],
};

/** Returns the name of a program without the directories in which it usually is. */
export function programName(word: string): string {
  return word.replace(/^(?:(?:\.\/)?node_modules\/\.bin\/|\/usr(?:\/local)?\/bin\/|\/bin\/)/, '');
}

/** Programs of a build that write no page of a static site. */
export const compilers = new Set(
  `tsc tsc-alias tsup tsdown swc babel ncc unbuild pkgroll esbuild del del-cli rimraf rm cp mkdir copyfiles cpx cpy chmod eslint biome
   prettier prisma echo shx`.split(/\s+/),
);

/** Returns true if a program with these words is in a table of subcommands. */
export function isIn(table: Record<string, string[]>, program: string, words: unknown[]): boolean {
  if (!Object.hasOwn(table, program)) return false;
  const subcommands = table[program] ?? [];
  const first = words.find((word) => typeof word === 'string' && !word.startsWith('-'));
  // Behind options, another word may be the value of one, as in `--port 3000`.
  const isCommand = words[0] === first || subcommands.includes(`${first}`);
  const command = typeof first === 'string' && isCommand && !/^\d+$/.test(first) ? first : '';
  return (
    ['*', command].some((name) => subcommands.includes(name)) ||
    words.some((word) => subcommands.includes(`${word}`) && `${word}`.startsWith('-'))
  );
}

function named(language: string, programs: string): Record<string, string> {
  return Object.fromEntries(programs.split(' ').map((program) => [program, language]));
}

function reasons(why: string, programs: string): Record<string, string> {
  return Object.fromEntries(programs.split(' ').map((program) => [program, `${program} ${why}`]));
}
