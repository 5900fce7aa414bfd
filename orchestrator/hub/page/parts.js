// Payloads that came in several messages, put together again: in order, each part once, whole or not at all.

const PATIENCE = 30_000;
const UNFINISHED = 8;
const LONGEST = 16 * 1024 * 1024;

export const isPart = (data) => typeof data === "object" && data !== null && data.type === "part"
  && typeof data.id === "string" && Number.isInteger(data.seq) && Number.isInteger(data.of) && typeof data.text === "string";

export class Assembly {
  #unfinished = new Map();

  /** Return the whole of what `part` is the last piece of; `undefined` = there is more to come, or it is given up. */
  take(sender, part, now) {
    const key = `${sender}\n${part.id}`;
    for (const [other, each] of this.#unfinished) if (now - each.heard > PATIENCE) this.#unfinished.delete(other);
    let known = this.#unfinished.get(key);
    if (known === undefined) {
      if (part.seq !== 0) return undefined;
      if (this.#unfinished.size >= UNFINISHED) this.#unfinished.delete(this.#unfinished.keys().next().value);
      known = { texts: [], size: 0, heard: now };
      this.#unfinished.set(key, known);
    }
    if (part.seq !== known.texts.length) return undefined;
    known.texts.push(part.text);
    known.size += part.text.length;
    known.heard = now;
    if (known.size > LONGEST) {
      this.#unfinished.delete(key);
      return undefined;
    }
    if (known.texts.length < part.of) return undefined;
    this.#unfinished.delete(key);
    try {
      return JSON.parse(known.texts.join(""));
    } catch {
      return undefined;
    }
  }
}
