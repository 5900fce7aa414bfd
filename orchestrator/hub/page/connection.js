// One peer's connection to the hub, by the protocol that every other client speaks. It comes back by itself after
// everything that coming back can heal, and is continued under a fresh token without anybody noticing.

import { Emitter } from "./emitter.js";
import { entries, readFrame } from "./frames.js";
import { Assembly, isPart } from "./parts.js";
import { Backoff, final, said } from "./policy.js";
import { Refused, Requests } from "./requests.js";
import { Timers } from "./timers.js";

const WELCOME = 10_000;
const PING = 20_000;
const SILENCE = 60_000;
const STABLE = 30_000;
const HANDOVER = 5_000;
const REPLAYS = 3;
const REPLAY_AFTER = 2_000;

/** Tells: `state`, `welcome` ({welcome, resumed}), `direct`, `presence`, `expired`, `ended` ({sentence, code}). */
export class Connection extends Emitter {
  #url;
  #token;
  #socket = null;
  #former = null;
  #held = [];
  #requests = new Requests();
  #channels = new Set();
  #assembly = new Assembly();
  #backoff = new Backoff();
  #timers = new Timers();
  #attempts = 0;
  #heard = 0;
  #pinged = 0;

  /** `token` is asked before every attempt; an error of it with `final` ends the connection, any other the attempt. */
  constructor(url, token) {
    super();
    this.#url = url;
    this.#token = token;
    this.state = "idle";
    this.detail = "";
    this.welcome = null;
    addEventListener("online", () => { if (this.#timers.has("retry")) this.#attempt(); });
  }

  get peerId() {
    return this.welcome?.peerId ?? "";
  }

  open() {
    this.#become("connecting");
    this.#attempt();
  }

  close() {
    this.#become("closed");
    this.#timers.stopAll();
    this.#drop(this.#former);
    this.#drop(this.#socket);
    this.#former = this.#socket = null;
    this.#requests.fail("the connection was closed");
  }

  /** Resolves to the ack. Rejects with `Refused`. */
  request(frame) {
    if (this.state !== "connected" || (!this.#requests.held && this.#socket?.readyState !== WebSocket.OPEN)) {
      return Promise.reject(new Refused("not_connected", "there is no connection to the hub"));
    }
    return this.#requests.make(frame, (text) => this.#socket.send(text));
  }

  send(to, data) {
    return this.request({ type: "send", to, data });
  }

  /** Subscribe, now and after each reconnect, until `unsubscribe`. */
  subscribe(channel) {
    this.#channels.add(channel);
    return this.request({ type: "subscribe", channel });
  }

  unsubscribe(channel) {
    this.#channels.delete(channel);
    return this.request({ type: "unsubscribe", channel }).catch(() => undefined);
  }

  // -- coming and coming back

  #become(state, detail = "") {
    this.state = state;
    this.detail = detail;
    this.emit("state", { state, detail });
  }

  async #attempt() {
    this.#timers.stop("retry");
    this.#drop(this.#socket);
    this.#socket = null;
    const attempt = ++this.#attempts;
    let token;
    let failure = null;
    try {
      token = await this.#token();
    } catch (error) {
      failure = error;
    }
    if (this.#attempts !== attempt || this.state === "closed") return;
    if (failure?.final) this.#end(failure.message, 4001);
    else if (failure) this.#again(failure.message);
    else this.#connect(token);
  }

  #connect(token) {
    const socket = this.#dial(token);
    this.#socket = socket;
    this.#timers.after("welcome", WELCOME, () => { this.#drop(socket, 4000); this.#closed(4000); });
    socket.onmessage = (event) => {
      const frame = this.#read(event);
      if (frame === null || socket !== this.#socket) return;
      if (this.state === "connected") this.#take(frame);
      else if (frame.type === "welcome") this.#welcomed(frame);
    };
    socket.onclose = (event) => { if (socket === this.#socket) this.#closed(event.code); };
  }

  #dial(token) {
    return new WebSocket(`${this.#url}?token=${encodeURIComponent(token)}`);
  }

  #welcomed(welcome) {
    this.#timers.stop("welcome");
    this.welcome = welcome;
    this.#timers.after("stable", STABLE, () => this.#backoff.reset());
    this.#pinged = 0;
    this.#keepAlive();
    this.#become("connected");
    for (const channel of this.#channels) this.#replay(channel);
    this.emit("welcome", { welcome, resumed: false });
  }

  #replay(channel, tries = 0) {
    this.request({ type: "subscribe", channel }).catch((refusal) => {
      if (tries >= REPLAYS || refusal.code === "not_connected" || refusal.code === "disconnected") return;
      setTimeout(() => { if (this.#channels.has(channel)) this.#replay(channel, tries + 1); }, REPLAY_AFTER);
    });
  }

  #closed(code) {
    this.#timers.stop("welcome", "stable", "ping", "handover");
    this.#drop(this.#former);
    this.#former = this.#socket = null;
    if (this.state === "closed") return;
    if (final(code)) {
      this.#end(final(code), code);
      return;
    }
    if (code === 4002) this.emit("expired");
    this.#backoff.ended(code);
    this.#again(said(code, this.state === "connected"));
    this.#requests.fail("the connection was lost");
  }

  #again(detail) {
    this.#become("reconnecting", detail);
    this.#timers.after("retry", 1000 * this.#backoff.next(), () => this.#attempt());
  }

  #end(sentence, code) {
    this.close();
    this.emit("ended", { sentence, code });
  }

  // -- being continued

  /**
   * Have the connection continued under a fresh token. Resolves to whether it was; it goes on as it is if not.
   * What is asked for meanwhile waits: the hub moves everything over in one step, and no request is under way then.
   */
  async renew(token) {
    if (this.state !== "connected" || this.#requests.held) return false;
    this.#requests.hold();
    await this.#requests.quiet();
    const former = this.#socket;
    if (this.state !== "connected" || former === null) return false;
    const next = this.#dial(token);
    const welcome = await this.#admitted(former, next);
    if (this.#socket !== former || this.state !== "connected") {
      this.#drop(next);
      return false;
    }
    if (welcome === null) this.#goOn(former, next);
    else this.#handOver(former, next, welcome);
    return welcome !== null;
  }

  /** Resolves to the welcome, or to `null`. The hub may close the former connection before that is read. */
  #admitted(former, next) {
    return new Promise((done) => {
      const end = setTimeout(() => done(null), WELCOME);
      const settle = (welcome) => { clearTimeout(end); done(welcome); };
      next.onclose = () => settle(null);
      next.onmessage = (event) => {
        const frame = this.#read(event);
        if (frame?.type !== "welcome") return;
        next.onmessage = (later) => this.#held.push(this.#read(later));
        settle(frame);
      };
      former.onclose = (event) => {
        if (former !== this.#socket || event.code === 1000) return;
        this.#closed(event.code);
        settle(null);
      };
    });
  }

  #goOn(former, next) {
    this.#drop(next);
    this.#held = [];
    former.onclose = (event) => { if (former === this.#socket) this.#closed(event.code); };
    if (former.readyState === WebSocket.OPEN) this.#requests.release((text) => former.send(text));
    else this.#closed(1006);
  }

  /** The hub has moved everything over: what came by the former socket is read to its end before what comes by this one. */
  #handOver(former, next, welcome) {
    const continued = typeof welcome.instance === "string" && welcome.peerId === this.peerId;
    this.#former = former;
    this.#socket = next;
    this.welcome = welcome;
    let over = false;
    const finish = () => {
      if (over) return;
      over = true;
      this.#timers.stop("handover");
      this.#drop(former);
      this.#former = null;
      for (const frame of this.#held.splice(0)) if (frame !== null) this.#take(frame);
    };
    former.onclose = finish;
    next.onmessage = (event) => {
      const frame = this.#read(event);
      if (frame === null || next !== this.#socket) return;
      if (over) this.#take(frame);
      else this.#held.push(frame);
    };
    next.onclose = (event) => { if (next === this.#socket) { finish(); this.#closed(event.code); } };
    this.#timers.after("handover", HANDOVER, finish);
    if (!continued || former.readyState === WebSocket.CLOSED) finish();
    this.#requests.release((text) => next.send(text));
    if (!continued) for (const channel of this.#channels) this.#replay(channel);
    this.emit("welcome", { welcome, resumed: continued });
  }

  // -- frames

  #read(event) {
    this.#heard = performance.now();
    return readFrame(event.data);
  }

  #take(frame) {
    switch (frame.type) {
      case "ack":
      case "error": this.#requests.settle(frame); break;
      case "direct": this.#direct(frame); break;
      case "presence": this.emit("presence", { channel: frame.channel, joined: entries(frame.joined), left: entries(frame.left) }); break;
      case "going_away": this.#backoff.goingAway(frame.retryAfterMs ?? 1000); break;
      default: break;
    }
  }

  #direct(frame) {
    const data = isPart(frame.data) ? this.#assembly.take(frame.from, frame.data, performance.now()) : frame.data;
    if (typeof data === "object" && data !== null && !Array.isArray(data)) this.emit("direct", { from: frame.from, data });
  }

  /** Say something when the hub has been silent for long, and give it up when it does not answer. */
  #keepAlive() {
    this.#timers.after("ping", PING / 4, () => {
      const now = performance.now();
      const unanswered = this.#pinged > this.#heard;
      if (unanswered && now - this.#heard > SILENCE && now - this.#pinged > PING) {
        this.#drop(this.#socket, 4000);
        this.#closed(4000);
        return;
      }
      if (!unanswered && now - this.#heard >= PING && this.#socket?.readyState === WebSocket.OPEN) {
        this.#pinged = now;
        this.#socket.send('{"type":"ping"}');
      }
      this.#keepAlive();
    });
  }

  #drop(socket, code = 1000) {
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close(code);
  }
}
