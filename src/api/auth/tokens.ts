import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { NamedRecords } from '../../config/named-records.ts';
import type { Paths } from '../../config/paths.ts';
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

/** Token with the scope `run`. Its hash tells it from a token of the same name that the version before has created. */
const runTokenSchema = v.strictObject({ name: v.string(), hash: v.string() });
type RunToken = v.InferOutput<typeof runTokenSchema>;

/**
 * Store of the API's tokens. It has only their SHA-256 hashes: a token is 256 random bits, so a slow hash adds nothing.
 * The scope `run` is in a file of its own: the version before, to which `sluice upgrade --back` returns, refuses unknown scopes.
 */
export class TokenStore {
  readonly #tokens: NamedRecords<StoredToken>;
  readonly #runTokens: NamedRecords<RunToken>;

  constructor({ tokens, runTokens }: Pick<Paths, 'tokens' | 'runTokens'>) {
    this.#tokens = new NamedRecords(tokens, tokenSchema, 'token');
    this.#runTokens = new NamedRecords(runTokens, runTokenSchema, 'token');
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
    const others = granted.filter((scope) => scope !== 'run');
    const scopes: TokenScope[] = others.length > 0 ? others : ['read'];
    const token: Token = { name, scopes, app, createdAt: new Date().toISOString() };
    const stored = { ...token, hash: hash(secret).toString('hex') };
    const mayRun = granted.includes('run');
    // The file of the scope comes first: alone, it permits nothing.
    await this.#tokens.add(stored, undefined, (tokens) =>
      this.#keepRunTokens(tokens, mayRun ? [stored] : []),
    );
    return { secret, token: mayRun ? { ...token, scopes: [...scopes, 'run'] } : token };
  }

  async list(): Promise<Token[]> {
    return await this.#withScopes(await this.#tokens.all());
  }

  /** Revokes a token. @throws AppError `token_not_found` */
  async revoke(name: string): Promise<void> {
    if (await this.#tokens.remove(name)) return this.#prune();
    throw new AppError('token_not_found', `token "${name}" not found`, {
      hint: 'List tokens: `sluice token list`',
    });
  }

  /** Revokes the tokens of an app that was removed, and returns their names. */
  async removeOf(app: string): Promise<string[]> {
    const removed = await this.#tokens.removeWhere((token) => token.app === app);
    await this.#prune();
    return removed.map(({ name }) => name);
  }

  /** Returns the token of a secret, or undefined. Takes the same time for a wrong secret as for a right one. */
  async find(secret: string): Promise<Token | undefined> {
    const sought = hash(secret);
    let found: StoredToken | undefined;
    for (const token of await this.#tokens.all()) {
      if (timingSafeEqual(Buffer.from(token.hash, 'hex'), sought)) found = token;
    }
    return found && (await this.#withScopes([found]))[0];
  }

  async #withScopes(tokens: readonly StoredToken[]): Promise<Token[]> {
    const mayRun = new Set((await this.#runTokens.all()).map(({ hash }) => hash));
    return tokens.map(({ name, scopes, app, createdAt, hash }) => ({
      name,
      scopes: mayRun.has(hash) ? [...scopes, 'run'] : scopes,
      app,
      createdAt,
    }));
  }

  /** Removes the scope `run` of tokens that do not exist any more. */
  #prune(): Promise<void> {
    return this.#tokens.between((tokens) => this.#keepRunTokens(tokens, []));
  }

  /** Keeps the scope `run` of the tokens that have it, and gives it to others. */
  #keepRunTokens(tokens: readonly StoredToken[], added: StoredToken[]): Promise<void> {
    const existing = new Set(tokens.map(({ hash }) => hash));
    const news = added.map(({ name, hash }) => ({ name, hash }));
    return this.#runTokens.change((before) => {
      const kept = before.filter(({ hash }) => existing.has(hash));
      return kept.length === before.length && news.length === 0 ? before : [...kept, ...news];
    });
  }
}

function hash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
