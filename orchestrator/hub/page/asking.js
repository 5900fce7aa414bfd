// Questions to agents and their answers: whom to ask, what came, and what to do when a connection or a replica is lost.

import { Emitter } from "./emitter.js";
import { Stream } from "./stream.js";

const GAP = 500;
const SILENT = 10_000;
const GIVEN_UP = 60_000;
const LONGEST = 60_000;
const BUSY = new Set(["full", "draining"]);

/** One question and its answer. `state`: asking, answering, done, failed, cancelled. */
export class Exchange {
  constructor(id, agent, prompt, peers, now) {
    Object.assign(this, { id, agent, prompt, peers, began: now, heard: now, asked: -Infinity });
    this.peer = "";
    this.tried = new Set();
    this.stream = new Stream(id);
    this.state = "asking";
    this.note = "";
    this.error = "";
    this.progress = null;
  }

  get live() {
    return this.state === "asking" || this.state === "answering";
  }
}

/** Tells `text` ({exchange, contents}) and `changed` (exchange). */
export class Asking extends Emitter {
  #connection;
  #live = new Map();
  #mark;
  #number = 0;
  #timer = 0;

  constructor(connection) {
    super();
    this.#connection = connection;
    this.#mark = `p${Array.from(crypto.getRandomValues(new Uint8Array(8)), (each) => each.toString(16).padStart(2, "0")).join("")}`;
    connection.on("direct", ({ from, data }) => this.#direct(from, data));
    connection.on("welcome", ({ resumed }) => { if (!resumed) this.#back(); });
  }

  /** `peers`: the agent's replicas, the one to be asked first in front. */
  ask(agent, prompt, peers) {
    const exchange = new Exchange(`${this.#mark}-${++this.#number}`, agent, prompt, peers, performance.now());
    this.#live.set(exchange.id, exchange);
    if (new Blob([prompt]).size > LONGEST) this.#fail(exchange, "This is longer than one message may be.");
    else this.#next(exchange);
    this.#tick();
    return exchange;
  }

  cancel(exchange) {
    if (!exchange.live) return;
    const { peer } = exchange;
    this.#end(exchange, "cancelled");
    if (peer) this.#say(exchange, { type: "task-cancel", taskId: exchange.id }).catch(() => undefined);
  }

  cancelAll() {
    for (const exchange of [...this.#live.values()]) this.cancel(exchange);
  }

  #say(exchange, data) {
    return this.#connection.send(exchange.peer, data);
  }

  #next(exchange) {
    const peer = exchange.peers.find((each) => !exchange.tried.has(each));
    if (peer === undefined) {
      this.#fail(exchange, exchange.note || `Nobody who is “${exchange.agent}” can be reached now.`);
      return;
    }
    exchange.peer = peer;
    exchange.tried.add(peer);
    this.#put(exchange);
    this.emit("changed", exchange);
  }

  /** Ask, or ask again after a drop: whoever has this question already does not begin anew. */
  #put(exchange) {
    const { peer } = exchange;
    this.#say(exchange, { type: "ask", prompt: exchange.prompt, taskId: exchange.id, attempt: 1 }).catch((refusal) => {
      if (exchange.peer !== peer || exchange.state !== "asking") return;
      if (refusal.code === "peer_not_found") this.#next(exchange);
      else if (refusal.code === "disconnected" || refusal.code === "not_connected" || refusal.code === "timeout") this.#noted(exchange, "waiting for the connection");
      else if (refusal.code === "action_not_permitted") this.#fail(exchange, `This token does not let you ask “${exchange.agent}”.`);
      else this.#fail(exchange, refusal.message);
    });
  }

  #back() {
    for (const exchange of this.#live.values()) {
      this.#noted(exchange, "");
      exchange.heard = performance.now();
      if (exchange.stream.started) this.#resume(exchange);
      else this.#put(exchange);
    }
  }

  #resume(exchange) {
    exchange.asked = performance.now();
    this.#say(exchange, exchange.stream.progress()).catch(() => undefined);
    this.#say(exchange, exchange.stream.missing()).catch((refusal) => {
      if (refusal.code === "peer_not_found" && exchange.live) this.#noted(exchange, `${exchange.peer} is away; waiting for it`);
    });
  }

  #direct(from, data) {
    const exchange = this.#live.get(data.streamId ?? data.taskId);
    if (exchange === undefined || !exchange.tried.has(from)) return;
    exchange.heard = performance.now();
    switch (data.type) {
      case "completion-chunk": this.#chunk(exchange, from, data); break;
      case "task-accepted": this.#noted(exchange, ""); break;
      case "task-progress":
        exchange.progress = Number.isFinite(data.progress) ? data.progress : exchange.progress;
        this.#noted(exchange, typeof data.message === "string" ? data.message : exchange.note);
        break;
      case "task-refused": this.#refused(exchange, from, String(data.reason ?? "")); break;
      case "task-result":
        this.emit("text", { exchange, contents: [data.result] });
        this.#end(exchange, "done");
        break;
      case "task-error": this.#fail(exchange, sentence(data.error)); break;
      default: break;
    }
  }

  #refused(exchange, from, reason) {
    if (from !== exchange.peer || exchange.stream.started) return;
    exchange.note = `${from} refuses: ${reason}`;
    if (BUSY.has(reason) || exchange.peers.some((each) => !exchange.tried.has(each))) this.#next(exchange);
    else this.#fail(exchange, exchange.note);
  }

  #chunk(exchange, from, chunk) {
    const { stream } = exchange;
    if (!stream.started) {
      exchange.peer = from;
      if (!chunk.done && Number.isInteger(chunk.seq)) this.#say(exchange, stream.progress()).catch(() => undefined);
    } else if (from !== exchange.peer) return;
    const contents = stream.take(chunk);
    if (exchange.state === "asking") {
      exchange.state = "answering";
      exchange.note = "";
      this.emit("changed", exchange);
    }
    if (contents.length > 0) this.emit("text", { exchange, contents });
    if (stream.over) {
      if (stream.error) this.#fail(exchange, sentence(stream.error));
      else this.#end(exchange, "done");
      return;
    }
    if (stream.gap && performance.now() - exchange.asked > GAP) this.#resume(exchange);
    const acknowledgement = stream.acknowledgement();
    if (acknowledgement) this.#say(exchange, acknowledgement).catch(() => undefined);
  }

  #noted(exchange, note) {
    if (exchange.note === note && exchange.progress === exchange.progressTold) return;
    exchange.note = note;
    exchange.progressTold = exchange.progress;
    this.emit("changed", exchange);
  }

  #fail(exchange, why) {
    exchange.error = why;
    this.#end(exchange, "failed");
  }

  #end(exchange, state) {
    exchange.state = state;
    exchange.note = "";
    this.#live.delete(exchange.id);
    this.emit("changed", exchange);
  }

  /** While something is live: ask after what has been silent, and give up what stays so. */
  #tick() {
    clearTimeout(this.#timer);
    if (this.#live.size === 0) return;
    const now = performance.now();
    if (this.#connection.state === "connected") {
      for (const exchange of this.#live.values()) {
        if (now - exchange.heard > GIVEN_UP) this.#fail(exchange, `${exchange.peer} has been silent for a minute.`);
        else if ((now - exchange.heard > SILENT && now - exchange.asked > SILENT) || (exchange.stream.gap && now - exchange.asked > GAP)) this.#resume(exchange);
      }
    }
    this.#timer = setTimeout(() => this.#tick(), 1_000);
  }
}

function sentence(error) {
  if (typeof error !== "object" || error === null) return "It failed.";
  return [error.type, error.message].filter((each) => typeof each === "string" && each).join(": ") || "It failed.";
}
