import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { NamedRecords } from '../../config/named-records.ts';
import { AppError } from '../../errors/app-error.ts';

/** Scopes of a token. Each scope includes the scopes before it. */
export const scopes = ['read', 'deploy', 'admin'] as const;
export type Scope = (typeof scopes)[number];

/** Scopes that a token may have. `run` permits one-off commands and includes `read`. Of the others, only `admin` for all apps includes `run`. */
export const tokenScopes = [...scopes, 'run'] as const;
export type TokenScope = (typeof tokenScopes)[number];

const tokenSchema = v.strictObject({
  name: v.string(),
  scopes: v.array(v.picklist(tokenScopes)),
  /** only app that the token may access; null for all apps */
  app: v.nullable(v.string()),
  createdAt: v.string(),
  hash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});
type StoredToken = v.InferOutput<typeof tokenSchema>;

/** Token without its secret, which is shown once and not stored. */
export type Token = Omit<StoredToken, 'hash'>;

/** Store of the API's tokens. It has only their SHA-256 hashes: a token is 256 random bits, so a slow hash adds nothing. */
export class TokenStore {
  readonly #tokens: NamedRecords<StoredToken>;

  constructor(path: string) {
    this.#tokens = new NamedRecords(path, tokenSchema, 'token');
  }

  /**
   * Creates a token and returns it with its secret, which cannot be read again.
   * @throws AppError `bad_request` if the name is invalid or in use
   */
  async create(
    name: string,
    granted: readonly TokenScope[],
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

  /** Revokes a token. @throws AppError `token_not_found` */
  async revoke(name: string): Promise<void> {
    if (await this.#tokens.remove(name)) return;
    throw new AppError('token_not_found', `token "${name}" not found`, {
      hint: 'List tokens: `sluice token list`',
    });
  }

  /** Revokes the tokens of an app that was removed, and returns their names. */
  async removeOf(app: string): Promise<string[]> {
    return (await this.#tokens.removeWhere((token) => token.app === app)).map(({ name }) => name);
  }

  /** Returns the token of a secret, or undefined. Takes the same time for a wrong secret as for a right one. */
  async find(secret: string): Promise<Token | undefined> {
    const sought = hash(secret);
    let found: StoredToken | undefined;
    for (const token of await this.#tokens.all()) {
      if (timingSafeEqual(Buffer.from(token.hash, 'hex'), sought)) found = token;
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
