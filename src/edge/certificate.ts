import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { AppError } from '../errors/app-error.ts';

/** What a file of a private key and a chain says of itself. */
export interface CertificateInfo {
  /** who has issued it, as people know them */
  issuer: string;
  selfSigned: boolean;
  /** ISO 8601 */
  validFrom: string;
  expiresAt: string;
  /** when a third of its lifetime is left */
  renewAt: string;
  /** SHA-256 of the whole file, in hex */
  fingerprint: string;
}

/**
 * Looks at PEM text with a private key and a chain that begins with its certificate.
 * @throws AppError `invalid_certificate` where they are none, do not belong together, or are of another name
 */
export function describeCertificate(pem: string, name: string): CertificateInfo {
  const { certificate, key } = parse(pem);
  if (!certificate.checkPrivateKey(key)) {
    throw invalid(
      'the key is of another certificate',
      'Send the key that the certificate was asked for with.',
    );
  }
  const isItsOwn = isIP(name) === 0 && certificate.checkHost(name) !== undefined;
  if (!isItsOwn) {
    throw invalid(
      `the certificate is not for ${name}, but for ${certificate.subjectAltName ?? certificate.subject}`,
    );
  }
  const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
  return {
    issuer: nameIn(certificate.issuer),
    selfSigned: certificate.issuer === certificate.subject,
    validFrom: new Date(from).toISOString(),
    expiresAt: new Date(to).toISOString(),
    renewAt: new Date(to - (to - from) / 3).toISOString(),
    fingerprint: createHash('sha256').update(pem).digest('hex'),
  };
}

function parse(pem: string) {
  const blocks = [...pem.matchAll(/-----BEGIN ([A-Z ]+)-----[\s\S]+?-----END \1-----/g)];
  const chain = blocks.filter(([, kind]) => kind === 'CERTIFICATE').map(([text]) => text);
  const keys = blocks.filter(([, kind]) => kind?.endsWith('PRIVATE KEY')).map(([text]) => text);
  if (chain.length === 0) throw invalid('there is no certificate in it');
  if (keys.length !== 1) throw invalid(`there are ${keys.length} private keys in it, where one is needed`);
  try {
    const [certificate] = chain.map((text) => new X509Certificate(text));
    return { certificate: certificate as X509Certificate, key: createPrivateKey(keys[0] as string) };
  } catch (cause) {
    throw invalid(`it cannot be read: ${(cause as Error).message}`, undefined, cause);
  }
}

/** `O=Let's Encrypt` and `CN=R3`, each on a line of its own in what Node gives, as one text. */
function nameIn(distinguished: string): string {
  const parts = Object.fromEntries(
    distinguished.split('\n').map((line) => [line.split('=', 1)[0] ?? '', line.slice(line.indexOf('=') + 1)]),
  );
  return parts['O'] ?? parts['CN'] ?? distinguished;
}

function invalid(
  message: string,
  hint = 'What is needed is PEM: the chain, the certificate of the host first, and its private key without a password.',
  cause?: unknown,
): AppError {
  return new AppError('invalid_certificate', message, { hint, cause });
}
