/** Asks an app one thing after the other, each on a connection of its own, until it leaves. */
export class Visitor implements AsyncDisposable {
  readonly #url: string;
  readonly #visits: Promise<void>;
  readonly #failures: string[] = [];
  #answers = 0;
  #leaving = false;

  constructor(url: string) {
    this.#url = url;
    this.#visits = this.#visit();
  }

  /** @returns how many requests were answered, and what was wrong with the others */
  async leave(): Promise<{ answers: number; failures: string[] }> {
    this.#leaving = true;
    await this.#visits;
    return { answers: this.#answers, failures: this.#failures };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }

  async #visit(): Promise<void> {
    while (!this.#leaving) {
      try {
        const response = await fetch(this.#url, { headers: { connection: 'close' } });
        await response.text();
        if (response.ok) this.#answers += 1;
        else this.#failures.push(`status ${response.status}`);
      } catch (error) {
        this.#failures.push(String((error as Error).cause ?? error));
      }
    }
  }
}
