import { join } from 'node:path';
import { readAppText } from '../../../system/fs/read-file.ts';
import type { KnownFailure, Match, Values } from '../diagnose.ts';
import { everywhere } from '../occasions.ts';

const running = ['hook', 'boot'] as const;
const notInstall = ['build', 'hook', 'boot'] as const;

/** Services by their usual port, with the package of Debian and a variable that often has the address. */
const services: Record<string, { name: string; debian?: string; variable: string }> = {
  5432: { name: 'PostgreSQL', debian: 'postgresql', variable: 'DATABASE_URL' },
  3306: { name: 'MySQL or MariaDB', debian: 'mariadb-server', variable: 'DATABASE_URL' },
  1433: { name: 'Microsoft SQL Server', variable: 'DATABASE_URL' },
  27017: { name: 'MongoDB', variable: 'MONGODB_URI' },
  6379: { name: 'Redis', debian: 'redis-server', variable: 'REDIS_URL' },
  11211: { name: 'memcached', debian: 'memcached', variable: 'MEMCACHED_SERVERS' },
  5672: { name: 'RabbitMQ', debian: 'rabbitmq-server', variable: 'AMQP_URL' },
  9092: { name: 'Kafka', variable: 'KAFKA_BROKERS' },
  4222: { name: 'NATS', debian: 'nats-server', variable: 'NATS_URL' },
  9200: { name: 'Elasticsearch', variable: 'ELASTICSEARCH_URL' },
  7700: { name: 'Meilisearch', variable: 'MEILI_HOST' },
  8086: { name: 'InfluxDB', debian: 'influxdb', variable: 'INFLUX_URL' },
  2379: { name: 'etcd', debian: 'etcd-server', variable: 'ETCD_HOSTS' },
  25: { name: 'a mail server', variable: 'SMTP_URL' },
  587: { name: 'a mail server', variable: 'SMTP_URL' },
  1025: { name: 'a mail server', variable: 'SMTP_URL' },
};

function service({ groups }: Match): Values | undefined {
  const known = services[groups['port'] ?? ''];
  if (known === undefined) return undefined;
  const { name, debian, variable } = known;
  const install = debian === undefined ? '' : ` (Debian: \`apt-get install ${debian}\`)`;
  return { service: name, install, variable };
}

/** Failures to reach a database or another service. */
export const serviceFailures: KnownFailure[] = [
  {
    on: notInstall,
    pattern: /ECONNREFUSED (?<address>(?:127\.\d+\.\d+\.\d+|::1|localhost|0\.0\.0\.0)):(?<port>\d+)/,
    check: service,
    reason: '{service} does not answer on this server ({address}:{port})',
    hint: 'Start {service} on the server{install}, or set the address of another one, such as: sluice env set {app} {variable}=…',
  },
  {
    on: notInstall,
    pattern: /Can't reach database server at [`"]?(?<address>[^`"\s]{1,200}?)[`"]?(?:$|[\s.])/,
    reason: 'the database at {address} does not answer',
    hint: 'Start the database, or set its address: sluice env set {app} DATABASE_URL=…',
  },
  {
    on: running,
    pattern: /ECONNREFUSED (?<address>[\w.:[\]-]{1,100}:\d+)/,
    reason: 'no program answers at {address}',
    hint: 'Start the service that the app needs there, or set the address of another one with `sluice env set {app}`.',
  },
  {
    on: running,
    pattern: /ECONNREFUSED/,
    reason: 'a service that the app needs does not answer',
    hint: 'Start the service, or set its address with `sluice env set {app}`. The lines above name it.',
  },
  {
    on: running,
    pattern: /getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?<host>[a-z][\w-]{0,60})$/,
    reason: 'the host {host} is not known; such names exist in docker compose',
    hint: 'Set the variable with the address to a host that this server knows, such as 127.0.0.1, with `sluice env set {app}`.',
  },
  {
    on: running,
    pattern: /getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?<host>[\w.-]{1,200})/,
    reason: 'the host {host} was not found',
    hint: 'Check the variable with this host, and correct it with `sluice env set {app}`.',
  },
  {
    on: notInstall,
    pattern:
      /password authentication failed for user|ER_ACCESS_DENIED_ERROR|Access denied for user|SCRAM-SERVER-FIRST-MESSAGE|Authentication failed against database|NOAUTH Authentication required|WRONGPASS/,
    reason: 'the database refuses the user or the password',
    hint: 'Set the right ones, such as: sluice env set {app} DATABASE_URL=…',
  },
  {
    on: notInstall,
    pattern:
      /database "(?<name>[^"]{1,100})" does not exist|Unknown database '(?<name2>[^']{1,100})'|Database [`"](?<name3>[^`"]{1,100})[`"] does not exist/,
    check: ({ groups }) => ({ name: groups['name'] ?? groups['name2'] ?? groups['name3'] ?? '' }),
    reason: 'the database {name} does not exist',
    hint: 'Create it (PostgreSQL: `createdb {name}`), or name another one: sluice env set {app} DATABASE_URL=…',
  },
  {
    on: running,
    pattern:
      /relation "(?<table>[^"]{1,100})" does not exist|no such table: (?<table2>\S+)|ER_NO_SUCH_TABLE|Table '(?<table3>[^']{1,100})' doesn't exist|The table [`"](?<table4>[^`"]{1,100})[`"] does not exist/,
    check: ({ groups }) => {
      const { table, table2, table3, table4 } = groups;
      return { table: table ?? table2 ?? table3 ?? table4 ?? 'a table' };
    },
    reason: 'the database lacks {table}',
    hint: 'Run the migrations before each switch. In sluice.json: "hooks": {"preSwitch": "npm run migrate"}, with the name of your script.',
  },
  {
    on: running,
    pattern:
      /no pg_hba\.conf entry for host .*(?:no encryption|SSL off)|The server does not support SSL connections/,
    reason: 'the app and the database do not agree on TLS',
    hint: 'Add or remove `?sslmode=require` in the address: sluice env set {app} DATABASE_URL=…',
  },
  {
    // drizzle-kit prints no error if the database does not answer.
    on: notInstall,
    pattern: /\] applying migrations\.\.\./,
    check: ({ output }) => (output.some((line) => line.includes('migrations applied')) ? undefined : {}),
    reason: 'drizzle-kit could not migrate the database',
    hint: 'Check that the database answers, and set its address: sluice env set {app} DATABASE_URL=…',
  },
];

/** Names of variables in the output of a library that checks variables. */
const variableName = /(?<![\w.$/-])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|PORT|SECRET|TOKEN|DOMAIN|HOST)(?![\w(])/g;
/** Words in capitals that are not variables. */
const noVariables = /^(?:ERR_|MODULE_|UNABLE_|ELIFECYCLE)/;
/** Number of lines that may list variables. */
const listed = 40;
/** Number of variables in a hint. */
const maxNames = 12;

/** Returns the variables that the matching line and the lines below name, as `{names}` and `{settings}`. */
function variablesBelow({ output, at }: Match): Values | undefined {
  return variablesIn(output.slice(at, at + listed));
}

function variablesInLine({ output, at }: Match): Values | undefined {
  const [line = ''] = output.slice(at, at + 1);
  // Names of constants in the code are not variables of the environment.
  return /ReferenceError|no-undef/.test(line) ? undefined : variablesIn([line]);
}

/** Words of one part in capitals that are not variables. */
const words =
  /^(?:URL|URI|JSON|HTML|HTTP|HTTPS|API|JWT|SQL|XML|CSS|CORS|CSRF|TLS|SSL|UUID|GET|POST|PUT|DELETE|YAML|DOM|NULL|ERROR|WARN|INFO|DEBUG|FATAL)$/;

/** Applies to a message such as `GREETING is not set` about a variable of one part. */
function variableOfOnePart({ groups, output, at }: Match): Values | undefined {
  const { name = '' } = groups;
  if (words.test(name) || /ReferenceError|no-undef/.test(output[at] ?? '')) return undefined;
  return { names: `${name} is`, settings: `${name}=…` };
}

/** Applies if the file .env of the release has one of the variables. */
async function isInEnvironmentFile(
  match: Match,
  find: (match: Match) => Values | undefined,
): Promise<Values | undefined> {
  const values = find(match);
  if (values === undefined) return undefined;
  const { directory } = match;
  const lines = (await readAppText(join(directory, '.env'), directory, maxEnvironmentFile)).split('\n');
  const wanted = (values['settings'] ?? '').split('=… ').map((name) => name.replace('=…', ''));
  const isNamed = (line: string) =>
    wanted.some((name) => line.replace(/^export /, '').startsWith(`${name}=`));
  return lines.some(isNamed) ? values : undefined;
}

/** Limit of the size of a file .env that is searched, in bytes. */
const maxEnvironmentFile = 64 * 1024;

function variablesIn(lines: string[]): Values | undefined {
  const frame = lines.findIndex((line) => /^\s+at \S/.test(line));
  const text = (frame === -1 ? lines : lines.slice(0, frame)).join('\n');
  const names = [...new Set([...text.matchAll(variableName)].map(([, name = '']) => name))]
    .filter((name) => !noVariables.test(name) && name !== 'NODE_ENV')
    .slice(0, maxNames);
  if (names.length === 0) return undefined;
  const verb = names.length === 1 ? 'is' : 'are';
  return { names: `${names.join(', ')} ${verb}`, settings: names.map((name) => `${name}=…`).join(' ') };
}

/** Messages about variables, and how their names are found. */
const messages: { pattern: RegExp; find: (match: Match) => Values | undefined }[] = [
  {
    pattern:
      /(?:[Mm]issing|[Ii]nvalid|[Uu]ndefined)(?: required)? env(?:ironment)? ?var(?:iable)?s?|[Ee]nvironment validation|[Ii]nvalid environment|MissingEnvVarsError|defined in \.env\.example but are not present|Config validation error|E_(?:MISSING|INVALID)_ENV|^ZodError: \[/,
    find: variablesBelow,
  },
  {
    pattern:
      /Environment variable not found: |must have required property '[A-Z][A-Z0-9_]{2,60}'|env-var: "|[Ee]nv(?:ironment)? ?var(?:iable)?s? ["'`]?[A-Z]|\b[A-Z][A-Z0-9_]{2,60}\b["'`]? (?:env(?:ironment)? ?var(?:iable)? )?(?:is|are|was|were|must be|is a|must be a) (?:not (?:set|defined|provided|found|configured|specified|present|given)|required|missing|undefined|unset|set\b|defined|provided|empty)|(?:[Mm]issing|[Rr]equired|[Uu]ndefined|[Uu]nset|set the) (?:env(?:ironment)? ?(?:var(?:iable)?s?)? ?)?:? ?["'`]?[A-Z][A-Z0-9]*_/,
    find: variablesInLine,
  },
  {
    pattern:
      /(?<![\w.$])["'`]?(?<name>[A-Z][A-Z0-9]{3,30})["'`]? (?:is|was|must be) (?:not set|required|missing|unset|set\b)/,
    find: variableOfOnePart,
  },
];

/** Failures because of variables that the app requires. */
export const variableFailures: KnownFailure[] = [
  ...messages.flatMap(({ pattern, find }): KnownFailure[] => [
    {
      on: everywhere,
      pattern,
      check: (match) => isInEnvironmentFile(match, find),
      reason: '{names} not set, because Sluice does not read the file .env',
      hint: 'Set the variables: sluice env set {app} --file .env',
    },
    {
      on: everywhere,
      pattern,
      check: find,
      reason: '{names} not set',
      hint: 'Set the value: sluice env set {app} {settings}',
    },
  ]),
  {
    on: running,
    pattern: /secretOrPrivateKey must have a value|secret option required for sessions/,
    reason: 'the app signs tokens or sessions, and its secret is not set',
    hint: 'Set the variable that the code reads, such as: sluice env set {app} SESSION_SECRET=$(openssl rand -hex 32)',
  },
  {
    on: running,
    pattern: /MissingSecret|NO_SECRET\b/,
    reason: 'Auth.js has no secret',
    hint: 'Set it: sluice env set {app} AUTH_SECRET=$(openssl rand -hex 32) NEXTAUTH_SECRET=$(openssl rand -hex 32)',
  },
  {
    on: running,
    pattern: /app\.keys is required|App keys are required|Missing jwtSecret|Missing apiToken\.salt/,
    reason: 'Strapi has no keys',
    hint: 'Copy them from your .env: sluice env set {app} APP_KEYS=… API_TOKEN_SALT=… ADMIN_JWT_SECRET=… JWT_SECRET=…',
  },
  {
    on: running,
    pattern:
      /The `uri` parameter to `openUri\(\)` must be a string, got "undefined"|MongoParseError: Invalid scheme/,
    reason: 'the address of MongoDB is not set',
    hint: 'Set the variable that the code reads, such as: sluice env set {app} MONGODB_URI=mongodb://127.0.0.1/NAME',
  },
  {
    on: running,
    pattern: /supabaseUrl is required|supabaseKey is required/,
    reason: 'the address or the key of Supabase is not set',
    hint: 'Set the variables that the code reads, such as: sluice env set {app} SUPABASE_URL=… SUPABASE_KEY=…',
  },
  {
    on: running,
    pattern: /Neither apiKey nor config\.authenticator provided/,
    reason: 'the key of Stripe is not set',
    hint: 'Set the variable that the code reads, such as: sluice env set {app} STRIPE_SECRET_KEY=…',
  },
  {
    on: running,
    pattern: /ERR_INVALID_URL.*undefined|input: 'undefined'|Invalid URL: undefined/,
    reason: 'the app reads a URL from a variable that is not set',
    hint: 'Set the variable that the code reads at this line with `sluice env set {app}`.',
  },
];
