import { formatBytes } from '../system/text/format.ts';

/** Message of git about a push over `receive.maxInputSize`. */
const tooLarge = 'pack exceeds maximum allowed size';
/** First byte of a packet on the side band for messages. */
const messageBand = '\u0002';
/** Number of bytes of a packet that are searched. */
const searched = 400;

/**
 * Returns a function that passes the output of git-receive-pack on. After git's message about a push that is too large, the
 * function adds the limit, its setting and the remedy, because git names none of them.
 * @param limit of a push, in bytes
 */
export function explainSizeLimit(limit: number): (chunk: Buffer) => Buffer {
  const note = packet(
    `The push is larger than the limit of ${formatBytes(limit)} ("maxUploadBytes" in config.json of the server).\n` +
      'To deploy the files without their history: sluice deploy --app NAME. Or remove large files from the commits.\n',
  );
  let header = '';
  /** bytes of the packet that are to come */
  let left = 0;
  let text = '';
  return (chunk) => {
    const parts: Buffer[] = [];
    let passed = 0;
    for (let at = 0; at < chunk.length; ) {
      if (left === 0) {
        const more = chunk.toString('latin1', at, at + 4 - header.length);
        at += more.length;
        header += more;
        if (header.length < 4) break;
        // `0000` to `0003` are packets without content.
        left = Math.max(0, Number.parseInt(header, 16) - 4) || 0;
        [header, text] = ['', ''];
        continue;
      }
      const taken = Math.min(left, chunk.length - at);
      text += chunk.toString('latin1', at, at + Math.min(taken, searched - text.length));
      at += taken;
      left -= taken;
      if (left > 0 || !(text.startsWith(messageBand) && text.includes(tooLarge))) continue;
      parts.push(chunk.subarray(passed, at), note);
      passed = at;
    }
    return parts.length === 0 ? chunk : Buffer.concat([...parts, chunk.subarray(passed)]);
  };
}

/** Returns a packet for the side band of messages: gitprotocol-pack(5). */
function packet(message: string): Buffer {
  const content = Buffer.from(`${messageBand}${message}`);
  return Buffer.concat([Buffer.from((content.length + 4).toString(16).padStart(4, '0')), content]);
}
