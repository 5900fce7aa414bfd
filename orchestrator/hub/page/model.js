// What is known of the runs of this hub and of who is on it, as far as it was told. It changes; nothing here is drawn.

import { Emitter } from "./emitter.js";
import { now } from "./time.js";

export const LIVE_TASKS = 2_000;
const KINDS = ["agents", "replicas", "presence", "tasks", "outline", "position"];

/** Tells which of KINDS has changed, and `load`, `flows` and `log` with what is new. */
export class Model extends Emitter {
  /** By peer of the run: {outline, peer, time, position, replicas, load}; the last two are what it says itself, by peer and by agent. */
  runs = new Map();
  /** By agent: what the outlines say of it together, or what its replicas say of themselves. */
  agents = new Map();
  /** By peer: ReplicaUpdate, of the run that started it where that tells of it. */
  replicas = new Map();
  /** By peer: {peerId, metadata, since, channels}. */
  present = new Map();
  /** By id: TaskUpdate, with `run`; the latest that ended or began last. */
  tasks = new Map();
  /** Agents that the token lets its bearer ask, with their peers; `null` = it does not say. */
  asks = null;
  /** Channels of which it is known who is present on them. */
  #rosters = new Set();

  outlines() {
    const told = [...this.runs.values()].map((run) => run.outline).filter(Boolean);
    return told.length > 0 ? told : [this.#outlineOfPresence()];
  }

  get replay() {
    return [...this.runs.values()].find((run) => run.outline?.replay) ?? null;
  }

  outline(run, outline) {
    const known = this.runs.get(run) ?? { peer: run, time: 0, position: null, replicas: new Map(), load: new Map() };
    this.runs.set(run, { ...known, outline });
    this.#gatherAgents();
    this.#tell("outline", "agents");
  }

  gone(run) {
    const known = this.runs.get(run);
    if (known === undefined) return;
    this.#forget(known);
    this.runs.delete(run);
    this.#gatherAgents();
    this.#tell("outline", "agents", "replicas", "tasks");
  }

  update(run, update) {
    const known = this.runs.get(run);
    if (known === undefined) return;
    known.time = update.time;
    known.position = update.position ?? null;
    if (update.whole) this.#forget(known);
    for (const each of update.replicas ?? []) this.#stands(known, each.peer, { ...each, run });
    for (const peer of update.gone ?? []) this.#stands(known, peer);
    for (const each of update.load ?? []) known.load.set(each.agent, each);
    for (const each of update.tasks ?? []) this.#task({ ...each, run });
    if (update.whole || update.replicas?.length || update.gone?.length) this.#tell("replicas");
    if (update.whole || update.tasks?.length) this.#tell("tasks");
    if (known.position !== null) this.#tell("position");
    this.emit("load", update);
    if (update.flows?.length) this.emit("flows", update.flows);
    if (update.whole || update.log?.length || update.missed) this.emit("log", { run, update });
  }

  /** Presence on a channel: `joined` is the whole roster right after a subscribe, which `whole` says. */
  presence(channel, joined, left, whole) {
    const here = new Set(joined.map((each) => each.peerId));
    const news = { joined: [], left: [] };
    const gone = left.map((each) => [each.peerId, each.reason]);
    if (whole) for (const [peer, each] of this.present) if (each.channels.has(channel) && !here.has(peer)) gone.push([peer, ""]);
    for (const [peer, reason] of gone) {
      const known = this.present.get(peer);
      if (known === undefined) continue;
      known.channels.delete(channel);
      if (known.channels.size > 0) continue;
      this.present.delete(peer);
      news.left.push({ ...known, reason });
    }
    for (const { peerId, metadata } of joined) {
      const known = this.present.get(peerId);
      if (known !== undefined) {
        known.channels.add(channel);
        known.metadata = metadata ?? known.metadata;
        continue;
      }
      const made = { peerId, metadata: metadata ?? {}, since: now(), channels: new Set([channel]) };
      this.present.set(peerId, made);
      news.joined.push(made);
    }
    if (whole) this.#rosters.add(channel);
    const noted = this.#noted();
    const moved = whole ? this.replicas.keys() : [...news.joined, ...news.left].map((each) => each.peerId);
    for (const peer of [...moved]) if (this.replicas.has(peer)) this.#choose(peer);
    if (whole || noted || news.joined.length || news.left.length) this.#tell("presence");
    return news;
  }

  /** Add agents that only presence tells of. Returns whether there are any that were not known. */
  #noted() {
    const before = this.agents.size;
    for (const each of this.present.values()) this.#note(each);
    if (this.agents.size === before) return false;
    this.#tell("agents");
    return true;
  }

  #note({ peerId, metadata }) {
    if (metadata?.kind !== "agent" || typeof metadata.agent !== "string") return;
    const known = this.agents.get(metadata.agent);
    if (known?.outlined) return;
    const agent = known ?? { name: metadata.agent, label: text(metadata.name) || metadata.agent, role: "agent", replicas: [], workers: [], tasks: [], teams: [] };
    if (!agent.replicas.includes(peerId)) agent.replicas.push(peerId);
    agent.role = ["coordinator", "worker"].includes(metadata.role) ? metadata.role : agent.role;
    agent.capabilities = texts(metadata.capabilities);
    this.agents.set(agent.name, agent);
  }

  #gatherAgents() {
    this.agents = new Map();
    for (const { outline } of this.runs.values()) {
      for (const each of outline?.agents ?? []) {
        const known = this.agents.get(each.name);
        const replicas = [...new Set([...(known?.replicas ?? []), ...(each.replicas ?? [])])];
        this.agents.set(each.name, { capabilities: [], workers: [], tasks: [], ...each, replicas, outlined: true });
      }
    }
    for (const [name, peers] of this.asks ?? []) {
      if (!this.agents.has(name)) this.agents.set(name, { name, label: name, role: "agent", replicas: [...peers], capabilities: [], workers: [], tasks: [], asked: true });
    }
    for (const each of this.present.values()) this.#note(each);
  }

  /** What the token lets its bearer ask, from the hub's welcome. */
  welcomed(metadata) {
    const asks = metadata?.asks;
    this.asks = typeof asks === "object" && asks !== null
      ? new Map(Object.entries(asks).map(([name, peers]) => [name, texts(peers)])) : null;
    this.#gatherAgents();
    this.#tell("agents");
  }

  mayAsk(agent) {
    return this.asks === null || this.asks.has(agent);
  }

  #task(task) {
    this.tasks.delete(task.id);
    this.tasks.set(task.id, task);
    while (this.tasks.size > LIVE_TASKS) this.tasks.delete(this.tasks.keys().next().value);
  }

  /** Take what a run says of a replica; without that, the replica is no part of it. Others may know of it, too. */
  #stands(known, peer, update) {
    if (update) known.replicas.set(peer, update);
    else known.replicas.delete(peer);
    this.#choose(peer);
  }

  #choose(peer) {
    const told = [...this.runs.values()].map((run) => run.replicas.get(peer)).filter(Boolean);
    const best = told.find(isHere) ?? told.at(-1);
    if (!best) this.replicas.delete(peer);
    else this.replicas.set(peer, this.#hasLeft(best) ? { ...best, state: "offline" } : best);
  }

  /** A run sees those whom others start come, and not go: that is for presence to tell, of agents on channels that we see. */
  #hasLeft(told) {
    if (isHere(told) || told.state !== "ready" || this.present.has(told.peer)) return false;
    return this.#channelsOf(told.agent).some((channel) => this.#rosters.has(channel));
  }

  #channelsOf(agent) {
    const listed = this.outlines().flatMap(({ lobbies = [], teams = [] }) => [...lobbies, ...teams]);
    return [`pools/${agent}`, ...listed.filter((each) => each.members.includes(agent)).map((each) => each.channel)];
  }

  #forget(known) {
    for (const peer of [...known.replicas.keys()]) this.#stands(known, peer);
    for (const [id, each] of this.tasks) if (each.run === known.peer) this.tasks.delete(id);
    known.load.clear();
  }

  #outlineOfPresence() {
    const agents = [...this.agents.values()];
    return { name: "", source: "", node: "", began: 0, agents, teams: [], lobbies: [], users: [], keepsTasks: false, admin: false };
  }

  #tell(...kinds) {
    for (const kind of kinds) if (KINDS.includes(kind)) this.emit(kind);
  }
}

const isHere = (told) => (told.where ?? "here") === "here";
const text = (value) => (typeof value === "string" ? value : "");
export const texts = (value) => (Array.isArray(value) ? value.filter((each) => typeof each === "string") : []);
