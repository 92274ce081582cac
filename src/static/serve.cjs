'use strict';

/*
 * Program that serves a static site. A worker runs it in the directory of the release, with the Node.js of the app, so it must run
 * on old versions. The arguments are the directory of the release, and the site as JSON.
 */

const { createServer } = require('node:http');
const { serveSite } = require('./handler.cjs');

const [, , release = '', site = ''] = process.argv;
createServer(serveSite(JSON.parse(site), release)).listen(Number(process.env['PORT']));
