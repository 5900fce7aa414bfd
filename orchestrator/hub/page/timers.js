// Timers by name, of each of which there is one at a time.

export class Timers {
  #running = new Map();

  after(name, milliseconds, then) {
    this.stop(name);
    this.#running.set(name, setTimeout(() => { this.#running.delete(name); then(); }, milliseconds));
  }

  has(name) {
    return this.#running.has(name);
  }

  stop(...names) {
    for (const name of names) {
      clearTimeout(this.#running.get(name));
      this.#running.delete(name);
    }
  }

  stopAll() {
    this.stop(...this.#running.keys());
  }
}
