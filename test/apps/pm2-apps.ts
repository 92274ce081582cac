/** Public repository with a configuration file of PM2, at a fixed commit. */
export interface Pm2App {
  /** `OWNER/NAME` on GitHub */
  repository: string;
  commit: string;
  /** path of the configuration file */
  file: string;
  /** what is special about the file */
  shows: string;
  /** name, in the file, of the app that Sluice's port belongs to; none if no app has a port */
  web?: string;
  /** answers that show that the app works, by path */
  answers?: Record<string, RegExp>;
  /** port of `web` under PM2, if the apps listen on several */
  port?: number;
  /** commands that install and build the app on a server with PM2; default: `npm ci` or `npm install` */
  prepare?: string[];
  /** last lines of the push if the app cannot run as it is: the next step */
  refusal?: RegExp;
  /** error of a push if the app ends by itself, at random, while Sluice still watches the new release: then it is pushed again */
  mayFail?: RegExp;
}

/** None of them is changed or configured. */
export const pm2Apps: Pm2App[] = [
  {
    repository: 'hiuny/test-pm2',
    commit: '81c848b15f6edf771eb976d721097deee27d5a3e',
    file: 'ecosystem.config.js',
    shows: 'cluster mode with max, wait_ready, stop_exit_codes, a handler of SIGINT',
    web: 'app',
    answers: { '/': /process\.env\.NODE_ENV: production/ },
  },
  {
    repository: 'shadankhan108/Task-6.2HD',
    commit: '3d1f4dfd2491688a9e9f291ca1de814e0cb3cd0c',
    file: 'ecosystem.config.js',
    shows: 'cluster mode with max, env_production with port 80, node_modules in git',
    web: 'task6.2hd',
    answers: { '/': /Ice Cream Survey/ },
  },
  {
    repository: 'tariqbuilds/linux-dash',
    commit: '186a802ea76e8bfcab7e8e7ebc533b74f80306fc',
    file: 'ecosystem.config.js',
    shows: 'a port in a variable of its own, script in a subdirectory, a name with a space',
    web: 'Linux Dash',
    answers: { '/': /linux dash/i, '/websocket': /"websocket_support":true/ },
  },
  {
    repository: 'imsyy/DailyHotApi',
    commit: 'e85c858478adc89db97aaba17a18094f927ee79c',
    file: 'ecosystem.config.cjs',
    shows: '.cjs, "npm" with "start", max_memory_restart, a build of TypeScript, pnpm',
    web: 'daily-news',
    answers: { '/': /DailyHot/i },
    prepare: ['npx --yes pnpm@9 install', 'npm run build'],
  },
  {
    repository: 'Azure-Samples/nodejs-docs-hello-world',
    commit: 'ab8695145fc34326f6b31b5d55eef4f7e22e7f18',
    file: 'process.json',
    shows: 'process.json with one app and no "apps", watch',
    web: 'worker',
    answers: { '/': /Hello/i },
  },
  {
    repository: 'NiponChi/js-pm2-docker',
    commit: '97f08b910a5348efed519025e714b4a4122302e1',
    file: 'pm2.json',
    shows: 'pm2.json with an array, cluster mode, exits and restarts',
    web: 'pm2-test',
    answers: { '/': /response from \d+/ },
    // Each process ends after 1 to 31 s, chosen at random.
    mayFail: /the app listened, and then ended with exit status 0/,
  },
  {
    repository: '7odri9o/pm2-two-process',
    commit: 'a09ffc8373d020de3bae73a51015a54f2eac29d4',
    file: 'pm2.json',
    shows: 'two apps that do not listen',
  },
  {
    repository: 'ChristopherMitchell242/pm2-thread-management-tutorial',
    commit: '3f70f13e0b3911e0776d575d8166b9df6eba7267',
    file: 'process.yml',
    shows: 'YAML, three apps without names: a server and two workers in cluster mode',
    web: 'socket',
    answers: { '/socket.io/?EIO=3&transport=polling': /"sid":/ },
  },
  {
    repository: 'Chupaca/socketio-events-delegate-to-pm2-clusters',
    commit: '8e7f6ffcf4309ffcc2f74ecef2532f5ba8f0bf96',
    file: 'process.yml',
    shows: 'YAML, four instances, env_production, pm2 as a library in the app',
    web: 'app',
    answers: { '/socket.io/?EIO=3&transport=polling': /"sid":/ },
  },
  {
    repository: 'mbao01/proxy-server',
    commit: '0fd29132fe843f8f901a83c2cc7c87f010662260',
    file: 'ecosystem.config.js',
    shows: 'three instances, max_memory_restart, "start" runs pm2-runtime, a name with spaces',
    web: 'Proxy API Server',
    answers: { '/': /./ },
  },
  {
    repository: 'chenggang321/pm2-demo',
    commit: 'c5307294f2afbfe687980bb643ec4fccf4df8201',
    file: 'ecosystem.config.js',
    shows: 'the file of `pm2 init`: args, max_memory_restart, deploy; no lockfile, a port in the code',
    web: 'API',
    answers: { '/': /hello world/ },
  },
  {
    repository: 'lucashpmelo/node-pm2-docker',
    commit: 'f63a9b83e590d9b7a06cf44f3c08655e5168742f',
    file: 'ecosystem.config.js',
    shows: 'NODE_ENV development, ignore_watch, deploy, pm2 among the dependencies',
    web: 'apipm2',
    answers: { '/': /./ },
  },
  {
    repository: 'QuickyBooster/pm2-demo',
    commit: '6f63d424c024228bc8efdb8cca703fb5a81c333b',
    file: 'ecosystem.config.js',
    shows: 'three servers on ports in the code, several environments, no package.json',
    web: 'helloheaven',
    port: 3781,
    prepare: [],
    answers: { '/': /HELLO, HEAVEN!/ },
  },
  {
    repository: 'RohitDarekar816/node-pm2-test',
    commit: '9f8e8a06478d6cb84fecddd817ddea9a4ccbc8f7',
    file: 'ecosystem.config.js',
    shows: 'four instances, env_production with PORT, node_args, min_uptime, no package.json',
    web: 'hello-world-app',
    prepare: [],
    answers: { '/': /./ },
  },
  {
    repository: 'JorgeLNJunior/typescript-boilerplate',
    commit: '85a78cbbb6db46bc0150bfe56277af2f5928629f',
    file: 'ecosystem.config.js',
    shows: 'cluster mode with max, instance_var, a build of TypeScript',
    web: 'typescript-boilerplate',
    answers: { '/': /Hello World/ },
    prepare: ['npm ci', 'npm run build'],
  },
  {
    repository: 'spff-dev/twitchbot',
    commit: '36e470333febe6955778d093d66485ea023ea7b5',
    file: 'ecosystem.config.js',
    shows: 'a bot without a port, an absolute cwd, max_restarts',
    refusal: /missing required env \(TWITCH_CLIENT_ID.*To set a missing variable: sluice env set twitchbot/s,
  },
];
