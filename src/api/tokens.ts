import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { parseSettings } from '../config/load.ts';
import { AppError } from '../errors/app-error.ts';
import { readJson, writeJsonAtomic } from '../system/files.ts';

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
const fileSchema = v.strictObject({ tokens: v.array(tokenSchema) });

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/**
 * The tokens of the API, in one file of mode 0600. Only SHA-256 sums of them are stored: a token is 256 random bits,
 * so a slow hash would add nothing.
 */
export class TokenStore {
  readonly #path: string;
  /** read once and kept: only this process writes the file */
  #tokens: StoredToken[] | undefined;
  /** one change at a time: each starts from what the one before it has written */
  #lastChange: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
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
    if (!namePattern.test(name)) {
      throw new AppError('bad_request', `"${name}" cannot name a token`, {
        hint: 'Letters, digits, ".", "_" and "-", at most 64 of them, such as "laptop" or "ci-shop".',
      });
    }
    const secret = `slc_${randomBytes(32).toString('base64url')}`;
    const token: Token = { name, scopes: [...granted], app, createdAt: new Date().toISOString() };
    await this.#change((tokens) => {
      if (tokens.some((other) => other.name === name)) {
        throw new AppError('bad_request', `there is a token named "${name}" already`, {
          hint: 'Choose another name, or revoke that one first.',
        });
      }
      return [...tokens, { ...token, hash: hash(secret).toString('hex') }];
    });
    return { secret, token };
  }

  async list(): Promise<Token[]> {
    return (await this.#load()).map(withoutHash);
  }

  /** @throws AppError `token_not_found` */
  async revoke(name: string): Promise<void> {
    await this.#change((tokens) => {
      const others = tokens.filter((token) => token.name !== name);
      if (others.length < tokens.length) return others;
      throw new AppError('token_not_found', `there is no token named "${name}"`, {
        hint: '`sluice token list` shows the ones there are.',
      });
    });
  }

  /** The token that `secret` is, or undefined. Takes as long for a wrong one as for a right one. */
  async find(secret: string): Promise<Token | undefined> {
    const wanted = hash(secret);
    let found: StoredToken | undefined;
    for (const token of await this.#load()) {
      if (timingSafeEqual(Buffer.from(token.hash, 'hex'), wanted)) found = token;
    }
    return found && withoutHash(found);
  }

  async #load(): Promise<StoredToken[]> {
    this.#tokens ??= parseSettings(
      fileSchema,
      (await readJson(this.#path)) ?? { tokens: [] },
      this.#path,
    ).tokens;
    return this.#tokens;
  }

  #change(change: (tokens: StoredToken[]) => StoredToken[]): Promise<void> {
    const changed = this.#lastChange.then(async () => {
      const tokens = change(await this.#load());
      await writeJsonAtomic(this.#path, { tokens });
      this.#tokens = tokens;
    });
    // Whoever asked for a change is told of its failure; the next one only waits for it to be over.
    this.#lastChange = changed.catch(() => undefined);
    return changed;
  }
}

function hash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function withoutHash({ name, scopes, app, createdAt }: StoredToken): Token {
  return { name, scopes, app, createdAt };
}
