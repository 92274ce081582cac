/** Reason why an app with certain dependencies cannot use several workers. */
export interface WorkerRule {
  /** clause that follows the name of the package */
  because: string;
  /** names of packages, separated by spaces */
  packages: string;
  /** packages that remove the reason */
  unless?: string;
  /** true if several workers are correct once all requests of a client reach the same worker */
  perClient?: true;
}

/** Packages through which workers send each other messages. */
const brokers =
  'redis ioredis @redis/client iovalkey @socket.io/cluster-adapter @socket.io/redis-streams-adapter @socket.io/redis-adapter @socket.io/postgres-adapter @socket.io/mongo-adapter ' +
  'pg-listen pg-pubsub nats @nats-io/transport-node mqtt kafkajs node-rdkafka @confluentinc/kafka-javascript amqplib ' +
  'amqp-connection-manager rhea zeromq @google-cloud/pubsub @aws-sdk/client-sqs @aws-sdk/client-sns ' +
  '@azure/service-bus graphql-redis-subscriptions graphql-postgres-subscriptions graphql-mqtt-subscriptions ' +
  '@hocuspocus/extension-redis';

const redisClients = 'redis ioredis @redis/client iovalkey';

/** Stores of sessions outside the process. */
const sessionStores =
  'connect-redis connect-valkey connect-mongo connect-mongodb-session connect-pg-simple connect-session-sequelize ' +
  'connect-session-knex connect-typeorm typeorm-store connect-dynamodb connect-memcached connect-mssql-v2 ' +
  'connect-couchbase connect-cassandra express-mysql-session session-file-store @quixo3/prisma-session-store ' +
  'connect-sqlite3 better-sqlite3-session-store firestore-store @google-cloud/connect-firestore ' +
  'koa-redis koa-session-mongo fastify-session-redis-store @mgcrea/fastify-session-redis-store ' +
  '@mgcrea/fastify-session-prisma-store @sailshq/connect-redis';

const ownState = 'which keeps its state inside the process';

/**
 * Packages with which several workers may answer incorrectly, the worst first. `auto` is one worker with each of them. A rule
 * is about correct answers, not about speed: a package that is fast and correct in several workers is not here.
 */
export const workerRules: WorkerRule[] = [
  {
    because: `is an embedded database, ${ownState}`,
    packages:
      'better-sqlite3 better-sqlite3-multiple-ciphers sqlite3 @vscode/sqlite3 @journeyapps/sqlcipher sqlite sql.js ' +
      'node-sqlite3-wasm libsql @libsql/client @databases/sqlite @keyv/sqlite keyv-sqlite @mikro-orm/sqlite ' +
      '@mikro-orm/better-sqlite @mikro-orm/libsql @prisma/adapter-better-sqlite3 @prisma/adapter-libsql @sequelize/sqlite3 ' +
      'lowdb nedb @seald-io/nedb nedb-promises nedb-core tingodb linvodb3 diskdb lokijs ' +
      'level levelup classic-level leveldown rocksdb lmdb ' +
      'keyv-file node-json-db simple-json-db stormdb json-server node-persist node-localstorage ' +
      'conf configstore data-store quick.db enmap @electric-sql/pglite duckdb @duckdb/node-api ' +
      'alasql pouchdb pouchdb-node pouchdb-adapter-leveldb rxdb gun hypercore hyperbee orbit-db ' +
      '@orbitdb/core sails-disk mongodb-memory-server pg-mem fake-indexeddb',
  },
  {
    because: `is a scheduler, ${ownState}`,
    packages:
      'node-cron cron croner node-schedule bree toad-scheduler cronosjs later @breejs/later @fastify/schedule ' +
      'fastify-cron @nestjs/schedule adonisjs-scheduler',
  },
  {
    because: 'answers each message of a chat or a mailbox: every worker would answer it',
    packages:
      'discord.js eris oceanic.js telegraf grammy node-telegram-bot-api @mtcute/node gramjs telegram @slack/bolt ' +
      '@slack/socket-mode whatsapp-web.js @whiskeysockets/baileys venom-bot tmi.js @twurple/chat irc-framework ' +
      'matrix-bot-sdk mineflayer botkit imap imapflow imap-simple',
  },
  {
    because: 'is an application for a single process',
    packages: 'ghost n8n node-red etherpad-lite ep_etherpad-lite hubot',
  },
  {
    because: 'keeps caches and events inside the process without Redis',
    packages: '@directus/api directus parse-server @medusajs/medusa nodebb',
    unless: redisClients,
  },
  {
    because:
      'has clients that poll: all requests of a client must reach the same process, even if an adapter connects the processes',
    packages:
      'socket.io engine.io @nestjs/platform-socket.io @feathersjs/socketio fastify-socket.io koa-socket-2 sockjs faye ' +
      'primus @socket.io/sticky',
    perClient: true,
  },
  {
    because: 'keeps its clients inside the process, and no dependency carries messages between processes',
    packages:
      'socket.io @nestjs/platform-socket.io @feathersjs/socketio fastify-socket.io koa-socket-2 sockjs faye primus ' +
      'ws uWebSockets.js websocket faye-websocket nodejs-websocket @fastify/websocket fastify-websocket express-ws ' +
      'koa-websocket @nestjs/platform-ws @nestjs/websockets @hono/node-ws @hapi/nes crossws hyper-express ' +
      'graphql-ws subscriptions-transport-ws graphql-subscriptions y-websocket @y/websocket-server y-webrtc ' +
      '@hocuspocus/server peer colyseus @colyseus/core mediasoup @geckos.io/server actionhero rpc-websockets ' +
      'isomorphic-ws better-sse express-sse sse-express fastify-sse-v2 @fastify/sse',
    unless: brokers,
  },
  {
    because: 'keeps sessions inside the process, unless it has a store',
    packages:
      'express-session next-session koa-generic-session koa-session-minimal @fastify/session fastify-session sails',
    unless: sessionStores,
    perClient: true,
  },
  {
    because: 'keeps sessions inside the process',
    packages: 'memorystore @hapi/yar yar oidc-provider',
    unless: '@hapi/catbox-redis @hapi/catbox-memcached catbox-redis',
    perClient: true,
  },
  {
    because: 'counts requests inside the process, so that each worker would have a limit of its own',
    packages:
      'express-rate-limit express-slow-down express-brute koa-ratelimit koa2-ratelimit @fastify/rate-limit ' +
      'fastify-rate-limit @nestjs/throttler rate-limiter-flexible hono-rate-limiter limiter connect-ratelimit',
    unless: `${redisClients} rate-limit-redis rate-limit-mongo rate-limit-memcached rate-limit-postgresql @acpr/rate-limit-postgresql @nest-lab/throttler-storage-redis`,
    perClient: true,
  },
  {
    because: 'is a queue inside the process: another worker does not know its tasks',
    packages: 'p-queue fastq better-queue queue',
  },
  {
    because: 'is a cache inside the process: another worker answers with older values',
    packages:
      'node-cache memory-cache memory-cache-node lru-cache quick-lru lru.min tiny-lru ttlcache @isaacs/ttlcache ' +
      'flat-cache @cacheable/memory apicache route-cache catbox-memory @hapi/catbox-memory',
  },
  {
    because: 'is a cache inside the process, unless it has a store: another worker answers with older values',
    packages: 'cacheable cache-manager @nestjs/cache-manager keyv',
    unless: `${redisClients} @keyv/redis @keyv/valkey @keyv/mongo @keyv/postgres @keyv/mysql @keyv/memcache cache-manager-redis-store cache-manager-redis-yet cache-manager-ioredis-yet`,
  },
];
