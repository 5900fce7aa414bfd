// What was asked of the hub and is not answered yet.

const ANSWER = 15_000;
const QUIET = 2_000;

/** A request was not done. `code` is the hub's, or `not_connected` (it never left), `disconnected`, `timeout`. */
export class Refused extends Error {
  constructor(code, message) {
    super(message || code);
    this.code = code;
  }
}

export class Requests {
  #pending = new Map();
  #waiting = null;
  #quieted = null;
  #number = 0;

  /** While true, what is asked for waits instead of being written. */
  get held() {
    return this.#waiting !== null;
  }

  hold() {
    this.#waiting = [];
  }

  release(write) {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const text of waiting) write(text);
  }

  /** Resolves to the ack. Rejects with `Refused`. */
  make(frame, write) {
    const requestId = `d${++this.#number}`;
    return new Promise((done, refuse) => {
      const end = setTimeout(() => this.#take(requestId, (each) => each.refuse(new Refused("timeout", "the hub did not answer"))), ANSWER);
      this.#pending.set(requestId, { done, refuse, end });
      const text = JSON.stringify({ ...frame, requestId });
      if (this.held) this.#waiting.push(text);
      else write(text);
    });
  }

  settle(frame) {
    if (frame.type === "ack") this.#take(frame.requestId, (each) => each.done(frame));
    else this.#take(frame.requestId, (each) => each.refuse(new Refused(String(frame.code), frame.message)));
  }

  /** Nobody will answer any more. */
  fail(sentence) {
    this.#waiting = null;
    for (const id of [...this.#pending.keys()]) this.#take(id, (each) => each.refuse(new Refused("disconnected", sentence)));
    this.#quieted?.();
  }

  /** Wait, not long, until all is answered. */
  quiet() {
    if (this.#pending.size === 0) return Promise.resolve();
    return new Promise((done) => {
      const end = setTimeout(() => this.#quieted?.(), QUIET);
      this.#quieted = () => { clearTimeout(end); this.#quieted = null; done(); };
    });
  }

  #take(id, how) {
    const waiting = this.#pending.get(id);
    if (waiting === undefined) return;
    this.#pending.delete(id);
    clearTimeout(waiting.end);
    how(waiting);
    if (this.#pending.size === 0) this.#quieted?.();
  }
}
