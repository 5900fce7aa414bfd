// Who looks at the page: the token, where it comes from, and when it is replaced by a fresh one.
//
// It is kept in this tab alone, and never in an address: a one-time code leaves the address bar before it is used.

import { now, setSkew, skew } from "./time.js";

const KEPT = "orchestrator.token";
const LEFT = "orchestrator.left";
const EXPIRED = "This token has expired: make another one with “orchestrator token”.";
const SHARE = 0.8;
const SPREAD = 0.02;
const LEAST_PAUSE = 250;
/** Seconds by which a connection may end before its token's time: the hub's lead, and its clock in whole seconds. */
const EARLIER = 1.25;
const LONGEST_TIMER = 2 ** 31 - 1;

/** There is no token, and trying again will not bring one. */
export class SignedOut extends Error {
  final = true;
}

/** What a token says, or `null`. It is the hub that checks it; here it only spares requests that it would refuse. */
export function claims(token) {
  try {
    const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(part), (one) => one.charCodeAt(0));
    const read = JSON.parse(new TextDecoder().decode(bytes));
    return typeof read === "object" && read !== null && typeof read.sub === "string" ? read : null;
  } catch {
    return null;
  }
}

export class Session {
  #token = "";
  #pasted = false;
  #code = "";
  #expired = false;
  #timer = 0;
  #unlock = null;
  #locked = "";
  #given = "";

  constructor() {
    const given = takeFragment();
    this.#code = given.get("code") ?? "";
    this.#given = given.get("token") ?? "";
  }

  get claims() {
    return claims(this.#token) ?? {};
  }

  /** Find a token: by the link's code, as kept for this tab, or from the run on this machine. Resolves to why there is none. */
  async begin() {
    if (this.#given) return this.paste(this.#given);
    if (this.#code) {
      const code = this.#code;
      this.#code = "";
      const why = await this.#fetched({ code });
      const signedIn = !why || (await this.#restored()) || !(await this.#fetched({}));
      return signedIn ? "" : why;  // a link that was used before keeps nobody out who gets in without it
    }
    if (await this.#restored()) return "";
    if (sessionStorage.getItem(LEFT)) {
      sessionStorage.removeItem(LEFT);
      return "You are signed out.";
    }
    return this.#fetched({});
  }

  /** Take what somebody has pasted. Returns what is wrong with it, or nothing. */
  paste(text) {
    const token = text.trim();
    if (/^sk_/.test(token)) return "This is a key, not a token. Keys open everything and belong in no page: make a token with “orchestrator token”.";
    const read = claims(token);
    if (read === null || token.split(".").length !== 3) return "This is no token: a token is three parts of letters and digits with dots between them.";
    this.#keep(token, true);
    return "";
  }

  /** The token for the next attempt to connect. Rejects with `SignedOut` when there is none any more. */
  async token() {
    if (!this.#token) throw new SignedOut("You are signed out.");
    if (!this.#expired && (this.#pasted || (this.claims.exp ?? Infinity) > now())) return this.#token;
    if (this.#pasted) throw new SignedOut(EXPIRED);
    const why = (await this.#fetched({}, this.#token)) && (await this.#fetched({}));
    if (why) throw Object.assign(new SignedOut(why), { final: !this.offline });
    return this.#token;
  }

  /** The hub says that the token has expired, whatever our clock does. */
  expire() {
    this.#expired = true;
  }

  /** Forget the token that the hub did not take, and ask the run on this machine for another one. Resolves like `begin`. */
  async again() {
    const pasted = this.#pasted;
    const expired = this.#expired || this.claims.exp <= now();
    this.forget();
    if (!pasted) return this.#fetched({});
    return expired ? EXPIRED : "The hub does not accept this token.";
  }

  /** Have `renew` called with a fresh token after 80 % of a token's life, for as long as there is one. */
  schedule(welcome, renew) {
    clearTimeout(this.#timer);
    this.#store();  // by now it is known how wrong our clock is
    if (this.#pasted || !Number.isFinite(welcome.expiresAt)) return;
    const life = (welcome.expiresAt - welcome.serverTime - EARLIER) * 1000;
    this.#renewAfter(life * (SHARE + SPREAD * Math.random()), Date.now() + life, renew);
  }

  #renewAfter(milliseconds, end, renew) {
    this.#timer = setTimeout(async () => {
      const before = this.#token;
      const why = await this.#fetched({}, before);
      if (!why && (await renew(this.#token))) return;
      const left = end - Date.now();
      const pause = Math.max(left * (0.2 + 0.1 * Math.random()), LEAST_PAUSE);
      if (pause < left) this.#renewAfter(pause, end, renew);
    }, Math.min(Math.max(milliseconds, LEAST_PAUSE), LONGEST_TIMER));
  }

  /** Forget the token, and ask for no other until somebody wants one. */
  leave() {
    this.forget();
    sessionStorage.setItem(LEFT, "1");
  }

  forget() {
    clearTimeout(this.#timer);
    this.#token = "";
    this.#release();
    sessionStorage.removeItem(KEPT);
  }

  #release() {
    this.#unlock?.();
    this.#unlock = null;
    this.#locked = "";
  }

  #keep(token, pasted) {
    this.#token = token;
    this.#pasted = pasted;
    this.#expired = false;
    this.#store();
    this.#lock();
  }

  #store() {
    sessionStorage.setItem(KEPT, JSON.stringify({ token: this.#token, pasted: this.#pasted, skew: skew() }));
  }

  async #restored() {
    let kept;
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    } catch {
      kept = null;
    }
    const read = typeof kept?.token === "string" ? claims(kept.token) : null;
    setSkew(kept?.skew);
    if (read === null || read.exp <= now()) return false;
    this.#token = kept.token;
    this.#pasted = kept.pasted === true;
    if (await this.#lock()) return true;
    this.forget();  // a duplicated tab: two connections of one instance would take one another's place
    return false;
  }

  /** Hold what says that this tab is the one with this token's instance. Resolves to whether it is. */
  #lock() {
    const { sub, instance } = this.claims;
    const name = `${KEPT} ${sub} ${instance}`;
    if (!instance || !navigator.locks || this.#locked === name) return Promise.resolve(true);
    this.#release();
    return new Promise((known) => {
      const held = () => new Promise((unlock) => { this.#unlock = unlock; this.#locked = name; known(true); });
      navigator.locks.request(name, { signal: AbortSignal.timeout(1_000) }, held).catch(() => known(false));
    });
  }

  /** Ask the hub for a token. Resolves to nothing, or to a sentence that says why there is none. */
  async #fetched(body, bearer = "") {
    this.offline = false;
    const headers = { "Content-Type": "application/json" };
    if (bearer) headers.Authorization = `Bearer ${bearer}`;
    try {
      const answer = await fetch("/session", { method: "POST", headers, body: JSON.stringify(body), cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(10_000) });
      const told = await answer.json();
      if (answer.ok && claims(told.token) !== null) {
        this.#keep(told.token, false);
        return "";
      }
      if (answer.status === 404) return "This hub gives no tokens of its own: paste one.";
      this.offline = answer.status >= 500 || answer.status === 429;
      return String(told.message || "The hub gave no token.");
    } catch {
      this.offline = true;
      return "The hub cannot be reached.";
    }
  }
}

/** Take what a link has given out of the address, before it is used. */
function takeFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (location.hash) history.replaceState(null, "", location.pathname);
  return given;
}
