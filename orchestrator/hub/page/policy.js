// What follows from the way in which a connection ended, and when the next one is tried.

const FIRST = 0.5;
const FACTOR = 2;
const MOST = 30;
const CROWDED = 30;
const LONGEST_WAIT = 300;

/** Codes after which coming back with the same token cannot help, as sentences for people. */
const FINAL = new Map([
  [4001, "The hub does not accept this token."],
  [4003, "The hub does not let this token on its channels."],
  [4012, "The account of this token is suspended."],
  [4020, "Somebody has ended this session, or it was continued elsewhere."],
]);
const SAID = new Map([
  [1001, "the hub goes away"],
  [1006, "the connection was lost"],
  [1008, "this page was too slow for the hub"],
  [1009, "a message was too big"],
  [1011, "a fault in the hub"],
  [4000, "the hub was silent"],
  [4002, "the token has expired"],
  [4010, "too many connections"],
  [4011, "too many messages"],
]);

export const final = (code) => FINAL.get(code) ?? "";

/** `admitted`: there was a connection, which has ended; else there was none yet. */
export function said(code, admitted = true) {
  if (code === 1006 && !admitted) return "the hub cannot be reached; if its run has ended, it is gone";
  return SAID.get(code) ?? `the connection was closed (${code})`;
}

/** How long to wait before each attempt; all of the time is drawn, so that many pages do not return together. */
export class Backoff {
  #attempts = 0;
  #floor = 0;

  /** Seconds. */
  next(random = Math.random) {
    const whole = Math.min(FIRST * FACTOR ** this.#attempts, MOST);
    this.#attempts += 1;
    const floor = this.#floor;
    this.#floor = 0;
    return floor > 0 ? Math.max(floor * (0.8 + 0.4 * random()), whole * random()) : whole * random();
  }

  reset() {
    this.#attempts = 0;
  }

  ended(code) {
    if (code === 4010) this.#floor = CROWDED;
  }

  goingAway(milliseconds) {
    if (Number.isFinite(milliseconds) && milliseconds > 0) this.#floor = Math.min(milliseconds / 1000, LONGEST_WAIT);
  }
}
