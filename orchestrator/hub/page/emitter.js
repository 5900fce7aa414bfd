// Who tells others what has happened. A listener that fails keeps nobody else from hearing.

export class Emitter {
  #listeners = new Map();

  on(kind, then) {
    const all = this.#listeners.get(kind) ?? new Set();
    this.#listeners.set(kind, all.add(then));
    return () => all.delete(then);
  }

  emit(kind, value) {
    for (const then of [...(this.#listeners.get(kind) ?? [])]) {
      try {
        then(value);
      } catch (error) {
        queueMicrotask(() => { throw error; });
      }
    }
  }
}
