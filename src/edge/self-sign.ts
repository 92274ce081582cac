/**
 * Prints a key and a self-signed certificate for a host name: for trials, and until an ACME server issues the host's first
 * certificate. `child.ts` runs this program.
 */
import { KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { createInterface } from 'node:readline';
import { cryptoProvider, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';

export interface SelfSignTask {
  name: string;
  days: number;
}

async function selfSign({ name, days }: SelfSignTask): Promise<string> {
  cryptoProvider.set(webcrypto as Crypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const { subtle } = webcrypto;
  const keys = (await subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
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
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' });
  return `${key}${certificate.toString('pem')}\n`;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await selfSign(JSON.parse(line) as SelfSignTask))}\n`);
  process.exit(0);
}
