'use strict';

const { writeSync } = require('node:fs');

/** @import { ServerHttp2Session } from 'node:http2' */
/** @typedef {{ plain: number, encrypted: number }} Patience longest wait without TLS and with TLS, in ms */

/** Frame of HTTP/2: a GOAWAY without an error and with the highest number of a stream, so it refuses none. */
const endIsNear = Buffer.from('0000080700000000007fffffff00000000', 'hex');
/** Size of a ping frame in bytes. */
const pingSize = 17;
/** Longest wait for an instant without an answer on its way to the client, in ms. */
const quietPatience = { plain: 50, encrypted: 200 };
/** Time between pings while a session waits for a request, in ms. */
const pingPause = 10;
/** Longest time for a client to answer pings, in ms. */
const pingPatience = 10_000;

/** Sessions that are being ended. @type {WeakSet<ServerHttp2Session>} */
const ending = new WeakSet();

/**
 * Ends an HTTP/2 session. The instant matters, because a GOAWAY can make requests of the client fail:
 *
 * - Node's GOAWAY refuses requests that are on their way to the server. So a first GOAWAY refuses none, and the last one
 *   follows when the client has answered two pings sent after the first. Two, because an answer to a ping may overtake requests that
 *   the client is still writing. TLS has no first GOAWAY: only the session can write to the socket.
 * - Node's client fails requests that it has not written yet when it reads any GOAWAY. It writes them when it has
 *   processed what it reads, or in the check phase of its event loop.
 *
 * So the session waits for the client's next request, as HTTP/1 does with `Connection: close`: the client has just
 * written all its requests. Then the session waits until the client has read all answers, because many clients send the next
 * request when they read an answer.
 * @param {ServerHttp2Session} session
 * @param {Patience} requestPatience for the next request
 * @returns {() => void} stops ending the session, if no GOAWAY has been sent yet
 */
function endSession(session, requestPatience) {
  if (session.closed || session.destroyed || ending.has(session)) return () => undefined;
  ending.add(session);
  const handle = /** @type {any} */ (session.socket)._handle;
  const patience = session.encrypted ? requestPatience.encrypted : requestPatience.plain;
  let isCalledOff = false;
  const timer = setTimeout(() => session.close(), patience + pingPatience).unref();
  session.once('close', () => clearTimeout(timer));
  void end(session, handle, patience, () => isCalledOff || session.closed || session.destroyed);
  return () => {
    isCalledOff = true;
    clearTimeout(timer);
    ending.delete(session);
  };
}

/**
 * @param {ServerHttp2Session} session
 * @param {any} handle of its socket
 * @param {number} patience
 * @param {() => boolean} isEnded
 */
async function end(session, handle, patience, isEnded) {
  const isQuiet = await quietInstant(session, handle, patience, isEnded);
  if (!isPlain(handle)) {
    const close = () => {
      if (!isEnded()) session.close();
    };
    // If a client sends one request at a time, no other request is on its way while this one has no answer.
    return isQuiet ? close() : nextRequest(session, patience, close);
  }
  while (!isEnded()) {
    if (announceEnd(session, handle)) {
      if (await ping(session)) await ping(session);
      return session.close();
    }
    if (!(await ping(session))) return;
  }
}

/**
 * Waits for a request, or until there has been none for `patience` ms.
 * @param {ServerHttp2Session} session
 * @param {number} patience
 * @param {() => void} then called before the app can answer the request
 * @returns {Promise<void>}
 */
function nextRequest(session, patience, then = () => undefined) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      session.off('stream', done);
      session.off('close', done);
      then();
      resolve();
    };
    const timer = setTimeout(done, patience).unref();
    session.prependListener('stream', done);
    session.once('close', done);
  });
}

/**
 * Waits for the next request, and until the client has read all answers, and its next requests have arrived.
 * Pings show this: nothing but the last ping has been written since the ping before. Pings go on while the session waits
 * and writes, so a request usually arrives at a quiet instant.
 * @param {ServerHttp2Session} session
 * @param {any} handle of its socket
 * @param {number} patience
 * @param {() => boolean} isEnded
 * @returns {Promise<boolean>} false if this did not happen in time
 */
async function quietInstant(session, handle, patience, isEnded) {
  let latest = Number.POSITIVE_INFINITY;
  const request = nextRequest(session, patience, () => {
    latest = performance.now() + quietPatience[session.encrypted ? 'encrypted' : 'plain'];
  });
  const isWaiting = () => latest === Number.POSITIVE_INFINITY;
  // Without a first GOAWAY, the session must process requests that arrive in one go with others before its end.
  const settled = () => (isPlain(handle) ? undefined : new Promise((resolve) => setImmediate(resolve)));
  let before = Number.NaN;
  while ((await ping(session)) && !isEnded()) {
    await settled();
    const written = handle.bytesWritten;
    const isQuiet = written - before === pingSize;
    before = written;
    if (!isWaiting()) {
      if (isQuiet) return true;
      if (performance.now() > latest) return false;
      continue;
    }
    // As long as nothing is written, another ping would show nothing new.
    do await Promise.race([request, pause()]);
    while (isWaiting() && isQuiet && handle.bytesWritten === written);
    await settled();
    if (isQuiet && handle.bytesWritten === written) return true;
  }
  return false;
}

function pause() {
  return new Promise((resolve) => setTimeout(resolve, pingPause).unref());
}

/**
 * @param {ServerHttp2Session} session
 * @returns {Promise<boolean>} true if the client has answered
 */
function ping(session) {
  return new Promise((resolve) => {
    if (session.closed || session.destroyed) resolve(false);
    else session.ping((error) => resolve(error === null));
  });
}

/**
 * Writes the first GOAWAY. Node.js cannot send it: after a GOAWAY of its own it ignores new streams, whatever number is in it.
 * So the frame goes directly to the socket, between two writes of the session, each of which has whole frames. The session
 * must have written its settings before, which an answer to a ping shows. The write is synchronous: Node.js aborts if the session
 * gets the end of a write that it has not begun.
 * @param {ServerHttp2Session} session
 * @param {any} handle of its socket, without TLS
 * @returns {boolean} false if the socket accepts no more bytes at present
 */
function announceEnd(session, handle) {
  if (handle.writeQueueSize > 0) return false;
  try {
    // A part of the frame makes the session useless.
    if (writeSync(handle.fd, endIsNear) < endIsNear.length) session.destroy();
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === 'EAGAIN') return false;
    session.destroy();
  }
  return true;
}

/** @param {any} handle of a socket */
function isPlain(handle) {
  return ['TCP', 'Pipe'].includes(handle?.constructor.name);
}

module.exports = { endSession };
