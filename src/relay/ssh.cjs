// @ts-check
/**
 * What sshd runs for a key that may push, as its forced command: carries bytes between the pusher's git and the server's
 * unix socket, and knows nothing of either. Plain JavaScript with no packages: it is started anew for every push, and
 * the pusher waits for it.
 *
 * Arguments: the socket, and the name of the key. What the pusher's git asked for is in SSH_ORIGINAL_COMMAND (sshd(8)).
 */
'use strict';

const { request } = require('node:http');

/** The longest command that is handed on: none of git's is near it, and headers have their own limit. */
const longest = 2000;

const [socketPath, key = ''] = process.argv.slice(2);
const command = (process.env['SSH_ORIGINAL_COMMAND'] ?? '').slice(0, longest).toWellFormed();
const protocol = process.env['GIT_PROTOCOL'] ?? '';

const call = request({
  socketPath,
  method: 'POST',
  path: '/ssh',
  agent: false,
  headers: {
    // Else the server closes at the end of its answer, and where it has not read all of ours that resets the connection:
    // the end of the answer could be lost.
    connection: 'keep-alive',
    'x-sluice-key': encodeURIComponent(key),
    'x-sluice-command': encodeURIComponent(command),
    'git-protocol': /^[\x21-\x7e]{1,100}$/.test(protocol) ? protocol : '',
  },
});

// At once: git waits for an answer before it sends anything.
call.flushHeaders();
process.stdin.pipe(call);

let answered = false;

call.on('response', (response) => {
  answered = true;
  if (response.statusCode !== 200) {
    process.stdin.unpipe(call);
    response.setEncoding('utf8');
    let text = '';
    response.on('data', (chunk) => {
      text += chunk;
    });
    response.on('close', () => fail(text.trim()));
    return;
  }
  response.pipe(process.stdout);
  response.on('end', () => {
    const { 'sluice-status': status, 'sluice-message': message = '' } = response.trailers;
    if (status === '0') process.stdout.end(() => process.exit(0));
    else fail(decodeURIComponent(message) || 'git has failed on the server: its log tells more');
  });
  response.on('error', lost);
});

call.on('error', (error) => {
  // What breaks off after an answer is told by the answer.
  if (answered) return;
  const { code } = /** @type {NodeJS.ErrnoException} */ (error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') fail('Sluice is not running on this server');
  else lost();
});

// The pusher is gone, and so is the reason to go on: the server sees that we hang up.
process.stdout.on('error', () => process.exit(1));

function lost() {
  fail(
    'the connection to Sluice broke off: it has ended, or been restarted. `sluice status` there tells what is live.',
  );
}

/** @param {string} text */
function fail(text) {
  process.stderr.write(`sluice: ${text.replaceAll('\n', '\n  ')}\n`, () => process.exit(1));
}
