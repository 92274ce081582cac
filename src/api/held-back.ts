import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * An answer that may have to wait for the end of its request. Text is written as bytes. If a response is written as strings,
 * some versions of Node.js lose its `drain` event (test/platform/http.test.ts), and count UTF-16 characters as unsent bytes.
 */
export interface HeldBack {
  write(text: string): void;
  /** Lets out what was held, whatever has become of the request. */
  release(): void;
}

/**
 * Holds an answer back until its request is here in full, where it comes through a proxy (`X-Forwarded-For`): nginx sends on
 * no more of a request from the first byte of its answer on, and an upload that is told of as it comes would never end.
 * What is told meanwhile is little: the first step of a deploy. (Git says nothing before it has all of a push.)
 */
export function heldBack(request: IncomingMessage, response: ServerResponse): HeldBack {
  let held: string[] | undefined;
  const release = () => {
    request.off('end', release).off('close', release);
    const text = held?.join('') ?? '';
    held = undefined;
    if (text !== '' && !response.destroyed) response.write(Buffer.from(text));
  };
  if (request.headers['x-forwarded-for'] !== undefined && !request.complete) {
    held = [];
    request.on('end', release).on('close', release);
  }
  return {
    write: (text) => {
      if (held === undefined) response.write(Buffer.from(text));
      else held.push(text);
    },
    release,
  };
}
