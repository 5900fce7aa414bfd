// Payloads that came in several messages, put together again: in order, each part once, whole or not at all.
// Whoever may speak to us may send parts, so what is unfinished is bounded, and costs those who have the most of it.

const PATIENCE = 30_000;
const OF_ONE_SENDER = 4;
const LONGEST = 8 * 1024 * 1024;
const TOGETHER = 2 * LONGEST;
/** Characters that a part, and a payload, count for beside their text. */
const COST = 256;

export const isPart = (data) => typeof data === "object" && data !== null && data.type === "part"
  && typeof data.id === "string" && Number.isInteger(data.seq) && Number.isInteger(data.of) && typeof data.text === "string";

export class Assembly {
  #unfinished = new Map();
  #size = 0;

  /** Characters that are held. */
  get size() {
    return this.#size;
  }

  /** Return the whole of what `part` is the last piece of; `undefined` = there is more to come, or it is given up. */
  take(sender, part, now) {
    const key = `${sender}\n${part.id}`;
    for (const [other, each] of this.#unfinished) if (now - each.heard > PATIENCE) this.#drop(other);
    if (part.seq === 0) this.#begin(key, sender, now);
    const known = this.#unfinished.get(key);
    if (known === undefined || part.seq !== known.texts.length) return undefined;
    const cost = part.text.length + COST;
    known.texts.push(part.text);
    known.size += cost;
    known.heard = now;
    this.#size += cost;
    if (known.texts.length >= part.of) {
      this.#drop(key);
      return joined(known.texts);
    }
    if (known.size > LONGEST) this.#drop(key);
    while (this.#size > TOGETHER) this.#drop(this.#ofLargestSender());
    return undefined;
  }

  #begin(key, sender, now) {
    if (this.#unfinished.has(key)) return;
    const own = [...this.#unfinished].filter(([, each]) => each.sender === sender);
    if (own.length >= OF_ONE_SENDER) this.#drop(own[0][0]);
    this.#unfinished.set(key, { sender, texts: [], size: COST, heard: now });
    this.#size += COST;
  }

  #drop(key) {
    this.#size -= this.#unfinished.get(key)?.size ?? 0;
    this.#unfinished.delete(key);
  }

  /** Return the key of the oldest payload of whoever has the most unfinished. */
  #ofLargestSender() {
    const sizes = new Map();
    for (const { sender, size } of this.#unfinished.values()) sizes.set(sender, (sizes.get(sender) ?? 0) + size);
    const [largest] = [...sizes].reduce((most, each) => (each[1] > most[1] ? each : most));
    return [...this.#unfinished].find(([, each]) => each.sender === largest)[0];
  }
}

function joined(texts) {
  try {
    return JSON.parse(texts.join(""));
  } catch {
    return undefined;
  }
}
