// Who is here: the agents with their replicas, what they can do, how they are and for how long; then people.

import { age, el, line, patch, setWords, soon, words } from "./dom.js";
import { now } from "./time.js";

const OPEN_UP_TO = 6;
const DOTS = 200;

/** What a state means at a glance. */
export const TONES = {
  ready: "good", online: "good", starting: "warn", waiting: "warn", awaited: "warn", stopping: "warn",
  offline: "bad", failed: "bad", finished: "idle", unseen: "idle", absent: "idle",
};

export class Presence {
  #model;
  #onSelect;
  #open = new Map();
  #filter = "";

  /** `onSelect(agent)`: somebody wants to talk to it. */
  constructor(root, model, onSelect) {
    this.#model = model;
    this.#onSelect = onSelect;
    this.count = el("span", { class: "count" });
    this.filter = el("input", { type: "search", class: "filter", placeholder: "Filter agents", "aria-label": "filter agents",
      on: { input: () => { this.#filter = this.filter.value.toLowerCase(); soon(this.draw); } } });
    this.agents = el("ul", { class: "groups", "aria-label": "agents" });
    this.people = el("ul", { class: "people", "aria-label": "people" });
    this.peopleTitle = el("h3", {}, "People and programs");
    this.nobody = el("p", { class: "empty" }, "Nobody is here yet, or this token shows nobody.");
    this.element = root;
    root.append(el("div", { class: "panel-head" }, el("h2", {}, "Agents"), this.count), this.filter,
      el("div", { class: "scroll" }, this.nobody, this.agents, this.peopleTitle, this.people));
    this.draw = this.draw.bind(this);
    for (const kind of ["agents", "replicas", "presence"]) model.on(kind, () => soon(this.draw));
    setInterval(() => soon(this.draw), 5_000);
  }

  draw() {
    const all = [...this.#model.agents.values()];
    const agents = all.filter((agent) => this.#fits(agent)).map((agent) => ({ agent, replicas: this.#replicas(agent) }));
    const here = agents.reduce((sum, { replicas }) => sum + replicas.filter((each) => each.tone === "good").length, 0);
    const planned = agents.reduce((sum, { replicas }) => sum + replicas.length, 0);
    setWords(this.count, planned ? `${here} of ${planned} online` : "");
    patch(this.agents, agents, ({ agent }) => agent.name, ({ agent }) => this.#group(agent), (node, item) => this.#fill(node, item));
    const people = [...this.#model.present.values()].filter((each) => each.metadata?.kind !== "agent" && !each.peerId.startsWith("(run)/"));
    patch(this.people, people, (each) => each.peerId, () => el("li", { class: "peer" }, el("i", { class: "dot good" }), words("", { class: "name" }), el("span", { class: "age" })), (node, each) => {
      setWords(node.children[1], line(each.metadata?.name ? `${each.metadata.user ?? ""} ${each.metadata.name}`.trim() : each.peerId, 120));
      node.title = line(each.peerId, 200);
      setWords(node.children[2], age(now() - each.since));
    });
    this.peopleTitle.hidden = people.length === 0;
    this.nobody.hidden = all.length + people.length > 0;
  }

  #fits(agent) {
    if (!this.#filter) return true;
    return [agent.name, agent.label, ...(agent.capabilities ?? [])].some((each) => String(each).toLowerCase().includes(this.#filter));
  }

  /** Its replicas: those that the run knows, and those that are just there. */
  #replicas(agent) {
    const { replicas, present } = this.#model;
    const peers = new Set(agent.replicas ?? []);
    const found = [];
    for (const peer of peers) {
      const told = replicas.get(peer);
      const seen = present.get(peer);
      if (!told && !seen && !agent.outlined && !agent.asked) continue;
      const state = told?.state ?? (seen ? "online" : "absent");
      found.push({ peer, state, tone: TONES[state] ?? "idle", told, since: told?.since ?? seen?.since });
    }
    return found;
  }

  #group(agent) {
    const toggle = el("button", { type: "button", class: "twist", on: { click: () => this.#turn(agent.name) } });
    const name = el("button", { type: "button", class: "agent-name", title: "talk to it", on: { click: () => this.#onSelect(agent.name) } }, words(""));
    const node = el("li", { class: "group", data: { agent: agent.name } },
      el("div", { class: "group-head" }, toggle, name, el("span", { class: "role" }), el("span", { class: "ready" })),
      el("div", { class: "capabilities" }), el("div", { class: "dots", "aria-hidden": "true" }), el("ul", { class: "replicas" }));
    const [head, capabilities, dots, list] = node.children;
    node.parts = { toggle, name, role: head.children[2], ready: head.children[3], capabilities, dots, list };
    return node;
  }

  #turn(name) {
    this.#open.set(name, !this.#isOpen(name, this.agents.known.get(name)?.total ?? 0));
    soon(this.draw);
  }

  /** Bring a replica into sight, which may be among those that are not listed now. */
  reveal(peer) {
    const agent = [...this.#model.agents.values()].find((each) => each.replicas.includes(peer));
    if (agent === undefined) return;
    this.#open.set(agent.name, true);
    this.draw();
    this.agents.known.get(agent.name)?.parts.list.known.get(peer)?.scrollIntoView({ block: "center" });
  }

  #isOpen(name, count) {
    return this.#open.get(name) ?? count <= OPEN_UP_TO;
  }

  #fill(node, { agent, replicas }) {
    const { parts } = node;
    node.total = replicas.length;
    const open = this.#isOpen(agent.name, replicas.length);
    const good = replicas.filter((each) => each.tone === "good").length;
    setWords(parts.name.firstElementChild, line(agent.label || agent.name, 80));
    parts.name.title = line(agent.name, 120);
    parts.role.textContent = agent.role === "agent" ? "" : agent.role;
    setWords(parts.ready, replicas.length === 1 ? "" : `${good}/${replicas.length}`);
    parts.toggle.setAttribute("aria-expanded", String(open));
    parts.toggle.setAttribute("aria-label", `replicas of ${line(agent.name, 60)}`);
    patch(parts.capabilities, (agent.capabilities ?? []).slice(0, 12), (each) => each, (each) => el("span", { class: "chip" }, words(line(each, 40))));
    parts.dots.hidden = open;
    parts.list.hidden = !open;
    patch(parts.dots, open ? [] : replicas.slice(0, DOTS), (each) => each.peer, () => el("i", { class: "dot" }), (dot, each) => setTone(dot, each.tone));
    patch(parts.list, open ? replicas : [], (each) => each.peer, (each) => replicaRow(each.peer), fillReplica);
  }
}

function setTone(dot, tone) {
  const wanted = `dot ${tone}`;
  if (dot.className !== wanted) dot.className = wanted;
}

function replicaRow(peer) {
  return el("li", { class: "peer", data: { peer } }, el("i", { class: "dot", role: "img" }), words(line(peer, 128), { class: "name mono" }),
    el("span", { class: "load" }), el("span", { class: "state" }), el("span", { class: "age" }));
}

function fillReplica(node, { state, tone, told, since }) {
  const [dot, , load, word, old] = node.children;
  setTone(dot, tone);
  dot.setAttribute("aria-label", line(state, 20));
  node.dataset.state = line(state, 20);
  const detail = told?.detail ? ` · ${line(told.detail, 300)}` : "";
  node.title = `${line(state, 20)}${told?.pid ? ` · pid ${told.pid}` : ""}${told?.restarts ? ` · ${told.restarts} restarts` : ""}${detail}`;
  setWords(load, told?.capacity ? `${told.inflight ?? 0}/${told.capacity}` : "");
  setWords(word, tone === "good" ? "" : line(state, 20));
  setWords(old, since ? age(now() - since) : "");
}
