/** Runs tasks one after the other, in the order in which they were handed in; one that fails does not stop the next. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task, task);
    this.#last = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}

/** Runs tasks with the same key one after the other. Tasks with different keys do not wait for each other. */
export class SerialByKey {
  readonly #keys = new Map<string, { serial: Serial; tasks: number }>();

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const entry = this.#keys.get(key) ?? { serial: new Serial(), tasks: 0 };
    this.#keys.set(key, entry);
    entry.tasks += 1;
    try {
      return await entry.serial.run(task);
    } finally {
      entry.tasks -= 1;
      if (entry.tasks === 0) this.#keys.delete(key);
    }
  }
}
