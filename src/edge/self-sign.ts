/**
 * Prints a key and a self-signed certificate for a host name: for trials, and until an ACME server issues the host's first
 * certificate. `child.ts` runs this program.
 */
import { randomBytes, webcrypto } from 'node:crypto';
import { createInterface } from 'node:readline';
import { cryptoProvider, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';

export interface SelfSignTask {
  name: string;
  days: number;
}

async function selfSign({ name, days }: SelfSignTask): Promise<string> {
  cryptoProvider.set(webcrypto as Crypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  // A minute back, for clients whose clocks are slow.
  const notBefore = new Date(Date.now() - 60_000);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: `00${randomBytes(15).toString('hex')}`,
    // A subject name has at most 64 characters. Clients check the other name.
    name: `CN=${name.slice(0, 64)}`,
    notBefore,
    notAfter: new Date(notBefore.getTime() + days * 86_400_000),
    signingAlgorithm: algorithm,
    keys,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return `${pem('PRIVATE KEY', key)}${certificate.toString('pem')}\n`;
}

function pem(kind: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${kind}-----\n${lines.join('\n')}\n-----END ${kind}-----\n`;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await selfSign(JSON.parse(line) as SelfSignTask))}\n`);
  process.exit(0);
}
