// The runs behind the hub, as peers: found where they are listed, watched, and asked.

import { Refused } from "./requests.js";

const RUNS = "(runs)";
const PREFIX = "(run)/";
const PATIENCE = 15_000;
const LATER = 1_500;
const MOST_CHANNELS = 90;

export class Runs {
  #connection;
  #model;
  #waiting = new Map();
  #channels = new Set();
  #found = new Set();
  #snapshots = new Set();
  #observable;
  #told;

  /** `told` hears of who came and went: {channel, joined, left}. */
  constructor(connection, model, told) {
    this.#connection = connection;
    this.#model = model;
    this.#told = told;
    this.#observable = [];
    connection.on("presence", (frame) => this.#presence(frame));
    connection.on("direct", ({ from, data }) => { if (from.startsWith(PREFIX)) this.#direct(from, data); });
    connection.on("state", ({ state }) => { if (state !== "connected") this.#lost(); });
  }

  /** Look for runs, and at the channels that a token lets its bearer observe. */
  begin(observable) {
    this.#observable = observable.filter((name) => !name.includes("*"));
    this.#join(RUNS);
    for (const channel of this.#observable) this.#join(channel);
  }

  /** Ask a run. Resolves to its result; rejects with a sentence. */
  request(run, what, given = {}) {
    const id = crypto.randomUUID?.() ?? `r${Math.random()}${performance.now()}`;
    return new Promise((done, refuse) => {
      const end = setTimeout(() => { this.#waiting.delete(id); refuse(new Refused("timeout", "the run did not answer")); }, PATIENCE);
      this.#waiting.set(id, { run, done, refuse, end });
      this.#connection.send(run, { type: "run-request", id, do: what, arguments: given }).catch((refusal) => this.#settle(id, (each) => each.refuse(refusal)));
    });
  }

  #join(channel) {
    if (this.#channels.has(channel) || this.#channels.size >= MOST_CHANNELS) return;
    this.#channels.add(channel);
    this.#snapshots.add(channel);
    this.#connection.subscribe(channel).catch((refusal) => {
      if (!["channel_not_authorized", "action_not_permitted", "channel_limit_exceeded"].includes(refusal.code)) return;
      this.#channels.delete(channel);
      this.#connection.unsubscribe(channel);
    });
  }

  /** Only as many channels as show each agent once: what is said on them comes with its presence. */
  #joinChannels() {
    const covered = new Set();
    const outlines = this.#model.outlines();
    const cover = (agents, channel) => {
      if (agents.every((agent) => covered.has(agent))) return;
      agents.forEach((agent) => covered.add(agent));
      this.#join(channel);
    };
    for (const { lobbies = [] } of outlines) for (const each of lobbies) { cover(each.members, each.channel); this.#join(each.channel); }
    for (const { agents = [] } of outlines) for (const each of agents) if (each.role === "worker") cover([each.name], `pools/${each.name}`);
    for (const { teams = [] } of outlines) for (const each of teams) cover(each.members, each.channel);
  }

  #lost() {
    this.#snapshots = new Set(this.#channels);
    for (const id of [...this.#waiting.keys()]) this.#settle(id, (each) => each.refuse(new Refused("disconnected", "the connection was lost")));
  }

  #presence({ channel, joined, left }) {
    const whole = this.#snapshots.delete(channel);
    if (channel !== RUNS) {
      const news = this.#model.presence(channel, joined, left, whole);
      if (news.joined.length || news.left.length) this.#told({ channel, ...news });
      return;
    }
    const runs = joined.map((each) => each.peerId).filter((peer) => peer.startsWith(PREFIX));
    const gone = whole ? [...this.#found].filter((peer) => !runs.includes(peer)) : left.map((each) => each.peerId);
    for (const run of gone) if (this.#found.delete(run)) this.#model.gone(run);
    for (const run of runs) if (!this.#found.has(run) || whole) this.#watch(run);
  }

  #watch(run) {
    this.#found.add(run);
    this.#connection.send(run, { type: "watch" }).catch((refusal) => {
      if (refusal.code === "backend_error" || refusal.code === "timeout") setTimeout(() => { if (this.#found.has(run)) this.#watch(run); }, LATER);
    });
  }

  #direct(run, data) {
    switch (data.type) {
      case "run-outline":
        if (!this.#found.has(run)) return;
        this.#model.outline(run, data);
        this.#joinChannels();
        break;
      case "run-update": this.#model.update(run, data); break;
      case "run-answer":
        if (this.#waiting.get(data.id)?.run !== run) return;
        this.#settle(data.id, (each) => (data.error ? each.refuse(new Refused("run", data.error)) : each.done(data.result ?? null)));
        break;
      default: break;
    }
  }

  #settle(id, how) {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.end);
    how(waiting);
  }
}
