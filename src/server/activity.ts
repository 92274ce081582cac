/** Counts what a server does for its clients, and measures how long it has done nothing. */
export class Activity {
  readonly #now: () => number;
  #underWay = 0;
  #quietSince: number;

  /** @param now returns ms; only goes forward */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#quietSince = now();
  }

  /** Begins a piece of work. Returns the function that ends it. */
  begin(): () => void {
    this.#underWay += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#underWay -= 1;
      this.touch();
    };
  }

  /** Begins the time without work again. */
  touch(): void {
    this.#quietSince = this.#now();
  }

  /** Time since the last work ended, in ms; 0 while there is work. */
  get quietFor(): number {
    return this.#underWay > 0 ? 0 : this.#now() - this.#quietSince;
  }
}
