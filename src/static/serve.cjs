'use strict';

/*
 * Program that serves a static site. A worker runs it as the user of the app, with the Node.js of Sluice. The arguments are the
 * directory of the release, and the site as JSON.
 */

const { createServer } = require('node:http');
const { serveSite } = require('./handler.cjs');

const [, , release = '', site = ''] = process.argv;
createServer(serveSite(JSON.parse(site), release)).listen(Number(process.env['PORT']));
