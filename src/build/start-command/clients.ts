/** Packages of bots and consumers, which connect to a service and need no port. A package that may also listen is not here. */
export const connectsByItself: ReadonlySet<string> = new Set(
  [
    // chats
    'discord.js eris oceanic.js detritus-client discord-hybrid-sharding discord-cross-hosting @sapphire/framework',
    'telegraf grammy node-telegram-bot-api telebot puregram gramjs telegram @mtcute/node tdl',
    'tmi.js @twurple/chat @twurple/eventsub-ws irc irc-framework irc-upd matrix-bot-sdk matrix-js-sdk',
    'mineflayer whatsapp-web.js @whiskeysockets/baileys baileys venom-bot @open-wa/wa-automate',
    '@wppconnect-team/wppconnect @slack/socket-mode @slack/rtm-api node-xmpp-client @xmpp/client vk-io node-vk-bot-api',
    // queues and streams
    'bullmq bull bee-queue kue agenda pg-boss graphile-worker node-resque rsmq-worker faktory-worker',
    'amqplib amqp-connection-manager rhea kafkajs node-rdkafka @confluentinc/kafka-javascript nats',
    '@nats-io/transport-node mqtt stompit sqs-consumer @google-cloud/pubsub @azure/service-bus',
    '@temporalio/worker zeebe-node @camunda8/sdk nsqjs',
    // mailboxes and schedules
    'imap imapflow imap-simple node-cron cron croner node-schedule bree toad-scheduler',
  ].flatMap((line) => line.split(' ')),
);

/** Packages that answer requests, besides those that build tools know: see static-site/tools.ts. */
export const serverPackages: ReadonlySet<string> = new Set(
  [
    'hapi micro connect find-my-way router @tinyhttp/app uWebSockets.js hyper-express light-my-request',
    '@slack/bolt botbuilder discord-interactions slash-create @line/bot-sdk viber-bot messenger-bot',
    'next nuxt @remix-run/serve @remix-run/node @react-router/serve astro @sveltejs/kit @builder.io/qwik-city',
    '@nestjs/microservices @nestjs/platform-express @nestjs/platform-fastify moleculer @grpc/grpc-js grpc',
    'http-proxy http-proxy-middleware http-server serve serve-handler node-static ecstatic',
    '@bull-board/express @bull-board/fastify @bull-board/koa bull-arena agendash parse-server node-red n8n',
    '@octokit/webhooks apollo-server-express express-graphql graphql-http mercurius @trpc/server peer net-snmp ssh2',
    'sockjs faye primus websocket nodejs-websocket colyseus @colyseus/core mediasoup',
  ].flatMap((line) => line.split(' ')),
);

/** Text of a program that may answer requests. */
export const serves =
  /\blisten\s*\(|\bcreate(?:Secure)?Server\b|\bWebSocketServer\b|\bWebSocket\.Server\b|\bserve\s*\(|webhook|\bPORT\b/i;
