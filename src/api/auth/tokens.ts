import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { NamedRecords } from '../../config/named-records.ts';
import { AppError } from '../../errors/app-error.ts';

/** What a token may do; each includes the ones before it. */
export const scopes = ['read', 'deploy', 'admin'] as const;
export type Scope = (typeof scopes)[number];

/** A token without its secret, which is shown once and kept nowhere. */
export interface Token {
  name: string;
  scopes: Scope[];
  /** the only app it is good for; null for all */
  app: string | null;
  createdAt: string;
}

const tokenSchema = v.strictObject({
  name: v.string(),
  scopes: v.array(v.picklist(scopes)),
  app: v.nullable(v.string()),
  createdAt: v.string(),
  hash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});
type StoredToken = v.InferOutput<typeof tokenSchema>;

/**
 * The tokens of the API. Only SHA-256 sums of them are stored: a token is 256 random bits, so a slow hash would add
 * nothing.
 */
export class TokenStore {
  readonly #tokens: NamedRecords<StoredToken>;

  constructor(path: string) {
    this.#tokens = new NamedRecords(path, 'tokens', tokenSchema, 'token');
  }

  /**
   * @returns the token itself, the only time that it can be seen
   * @throws AppError `bad_request` where the name is no name, or taken
   */
  async create(
    name: string,
    granted: readonly Scope[],
    app: string | null,
  ): Promise<{ secret: string; token: Token }> {
    const secret = `slc_${randomBytes(32).toString('base64url')}`;
    const token: Token = { name, scopes: [...granted], app, createdAt: new Date().toISOString() };
    await this.#tokens.add({ ...token, hash: hash(secret).toString('hex') });
    return { secret, token };
  }

  async list(): Promise<Token[]> {
    return (await this.#tokens.all()).map(withoutHash);
  }

  /** @throws AppError `token_not_found` */
  async revoke(name: string): Promise<void> {
    if (await this.#tokens.remove(name)) return;
    throw new AppError('token_not_found', `there is no token named "${name}"`, {
      hint: '`sluice token list` shows the ones there are.',
    });
  }

  /** Makes those worthless that are good for one app alone, which is gone. @returns their names */
  async removeOf(app: string): Promise<string[]> {
    return (await this.#tokens.removeWhere((token) => token.app === app)).map(({ name }) => name);
  }

  /** The token that `secret` is, or undefined. Takes as long for a wrong one as for a right one. */
  async find(secret: string): Promise<Token | undefined> {
    const wanted = hash(secret);
    let found: StoredToken | undefined;
    for (const token of await this.#tokens.all()) {
      if (timingSafeEqual(Buffer.from(token.hash, 'hex'), wanted)) found = token;
    }
    return found && withoutHash(found);
  }
}

function hash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function withoutHash({ name, scopes, app, createdAt }: StoredToken): Token {
  return { name, scopes, app, createdAt };
}
