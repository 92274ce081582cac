import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { AppError } from '../errors/app-error.ts';

/** Facts about a certificate. Times are in ISO 8601. */
export interface CertificateInfo {
  /** organization or name of the issuer */
  issuer: string;
  selfSigned: boolean;
  validFrom: string;
  expiresAt: string;
  /** time at which a third of its lifetime is left */
  renewAt: string;
  /** SHA-256 of the whole file, in hex */
  fingerprint: string;
}

/**
 * Checks a PEM text with a private key and a chain that begins with the host's certificate.
 * @throws AppError `invalid_certificate` if the text is malformed, key and certificate do not match, or the certificate is
 *   for another name
 */
export function describeCertificate(pem: string, name: string): CertificateInfo {
  const { certificate, key } = parse(pem);
  if (!certificate.checkPrivateKey(key))
    throw invalid('the key belongs to another certificate', 'Send the key of this certificate.');
  if (isIP(name) !== 0 || certificate.checkHost(name) === undefined)
    throw invalid(
      `the certificate is not for ${name}, but for ${certificate.subjectAltName ?? certificate.subject}`,
    );
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
  if (chain.length === 0) throw invalid('the text has no certificate');
  if (keys.length !== 1) throw invalid(`the text has ${keys.length} private keys (expected 1)`);
  try {
    // All certificates of the chain must be readable.
    const [certificate] = chain.map((text) => new X509Certificate(text));
    return { certificate: certificate as X509Certificate, key: createPrivateKey(keys[0] as string) };
  } catch (cause) {
    throw invalid(`the text cannot be read: ${(cause as Error).message}`, undefined, cause);
  }
}

/** Returns the organization, or else the name, of a distinguished name, such as `O=Let's Encrypt\nCN=R3`. */
function nameIn(distinguished: string): string {
  const parts = Object.fromEntries(distinguished.split('\n').map((line) => line.split(/=(.*)/s, 2)));
  return parts['O'] ?? parts['CN'] ?? distinguished;
}

function invalid(
  message: string,
  hint = 'Send PEM: the chain, with the certificate of the host first, and its private key without a password.',
  cause?: unknown,
): AppError {
  return new AppError('invalid_certificate', message, { hint, cause });
}
