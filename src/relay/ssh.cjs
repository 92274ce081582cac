// @ts-check
/**
 * Forced command of sshd for a key that may push: carries bytes between the client's git and the server's unix socket. Plain
 * JavaScript without packages, because each push starts it and waits for it.
 *
 * Arguments: the socket, and the name of the key. SSH_ORIGINAL_COMMAND has the command of the client (sshd(8)).
 */
'use strict';

const { request } = require('node:http');

/** Limit of the command that is sent, in characters: commands of git are far shorter, and headers have a limit of their own. */
const maxCommand = 2000;

const [socketPath, key = ''] = process.argv.slice(2);
const command = (process.env['SSH_ORIGINAL_COMMAND'] ?? '').slice(0, maxCommand).toWellFormed();
const protocol = process.env['GIT_PROTOCOL'] ?? '';

const call = request({
  socketPath,
  method: 'POST',
  path: '/ssh',
  agent: false,
  headers: {
    // Without keep-alive, the server closes the connection after its answer. If it has not read all of our bytes, that resets the
    // connection, and the end of the answer is lost.
    connection: 'keep-alive',
    'x-sluice-key': encodeURIComponent(key),
    'x-sluice-command': encodeURIComponent(command),
    'git-protocol': /^[\x21-\x7e]{1,100}$/.test(protocol) ? protocol : '',
  },
});

// git waits for an answer before it sends anything.
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
    else fail(decodeURIComponent(message) || 'git failed on the server: see the log of the server.');
  });
  response.on('error', lost);
});

call.on('error', (error) => {
  // A loss after the answer has begun is an error of the answer.
  if (answered) return;
  const { code } = /** @type {NodeJS.ErrnoException} */ (error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') fail('Sluice is not running on this server.');
  else lost();
});

// The client has gone. The server sees that we disconnect.
process.stdout.on('error', () => process.exit(1));

function lost() {
  fail(
    'The connection to Sluice was lost: Sluice has stopped or restarted. See what is live on the server: `sluice status`',
  );
}

/** @param {string} text */
function fail(text) {
  process.stderr.write(`sluice: ${text.replaceAll('\n', '\n  ')}\n`, () => process.exit(1));
}
