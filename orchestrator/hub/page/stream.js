// The reading end of one streamed answer: its chunks in order, each once, with gaps asked for again.

const AHEAD = 1_024;
/** Characters, about, of chunks that others have to come before. */
const AHEAD_SIZE = 4 * 1024 * 1024;
const ACK_EVERY = 32;
const ACK_SIZE = 512 * 1024;

export class Stream {
  #next = 0;
  #ahead = new Map();
  #aheadSize = 0;
  #unsaid = 0;
  #unsaidSize = 0;

  constructor(id) {
    this.id = id;
    this.over = false;
    this.error = null;
    this.started = false;
  }

  get next() {
    return this.#next;
  }

  /** Whether something came that others have to come before. */
  get gap() {
    return this.#ahead.size > 0;
  }

  /** Take a chunk, in whatever order they come. Returns the contents that can be read by now. */
  take(chunk) {
    if (this.over) return [];
    this.started = true;
    const first = Number.isInteger(chunk.seq) ? chunk.seq : this.#next;
    const contents = [chunk.content, ...(Array.isArray(chunk.more) ? chunk.more : [])];
    contents.forEach((content, at) => {
      const seq = first + at;
      const size = sizeOf(content);
      const early = seq >= this.#next + AHEAD || this.#aheadSize + size > AHEAD_SIZE;
      if (seq < this.#next || this.#ahead.has(seq) || (early && seq !== this.#next)) return;
      this.#aheadSize += size;
      const last = at === contents.length - 1;
      this.#ahead.set(seq, { content, done: last && chunk.done === true, error: last ? chunk.error : null });
    });
    return this.#read();
  }

  #read() {
    const read = [];
    for (let each = this.#ahead.get(this.#next); each !== undefined && !this.over; each = this.#ahead.get(this.#next)) {
      this.#ahead.delete(this.#next);
      this.#aheadSize -= sizeOf(each.content);
      this.#next += 1;
      if (each.content !== "" && each.content !== null && each.content !== undefined) read.push(each.content);
      this.#unsaid += 1;
      this.#unsaidSize += sizeOf(each.content);
      if (each.done) {
        this.over = true;
        this.error = each.error ?? null;
        this.#ahead.clear();
      }
    }
    return read;
  }

  /** What to say of what was read, now and then; nothing most of the time. */
  acknowledgement() {
    if (this.over || (this.#unsaid < ACK_EVERY && this.#unsaidSize < ACK_SIZE)) return null;
    return this.progress();
  }

  progress() {
    this.#unsaid = this.#unsaidSize = 0;
    return { type: "stream-ack", streamId: this.id, seq: this.#next - 1, many: true };
  }

  missing() {
    return { type: "stream-resume", streamId: this.id, from: this.#next };
  }
}

function sizeOf(content) {
  if (typeof content === "string") return content.length;
  return typeof content === "object" ? JSON.stringify(content).length : 16;
}
