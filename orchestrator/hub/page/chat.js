// Talking to agents: a conversation for each, answers as they come, and a way to stop them.

import { el, line, notice, patch, pretty, setWords, soon, took, visible, words } from "./dom.js";

const KEPT = 100;
const LONGEST_ANSWER = 400_000;

export class Chat {
  #model;
  #asking;
  #conversations = new Map();
  #agent = "";
  #turn = 0;

  constructor(root, model, asking) {
    this.#model = model;
    this.#asking = asking;
    this.agent = el("select", { class: "quiet", "aria-label": "agent to talk to", on: { change: () => this.choose(this.agent.value) } });
    this.chips = el("div", { class: "conversations", role: "group", "aria-label": "conversations" });
    this.messages = el("div", { class: "messages", tabIndex: 0, role: "log", "aria-label": "conversation", "aria-live": "polite" });
    this.empty = el("p", { class: "empty" }, "Pick an agent and ask it something.");
    this.input = el("textarea", { class: "prompt", rows: "1", placeholder: "Ask…", "aria-label": "your question", on: {
      keydown: (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.#ask(); } },
      input: () => { this.#fit(); soon(this.draw); },
    } });
    this.send = el("button", { type: "submit", class: "main" }, "Ask");
    this.stop = el("button", { type: "button", class: "stop", hidden: true, on: { click: () => this.#cancel() } }, "Cancel");
    this.form = el("form", { class: "composer", on: { submit: (event) => { event.preventDefault(); this.#ask(); } } }, this.input, el("div", { class: "composer-buttons" }, this.stop, this.send));
    root.append(el("div", { class: "panel-head" }, el("h2", {}, "Chat"), this.agent), this.chips, this.messages, this.form);
    this.messages.append(this.empty);
    this.draw = this.draw.bind(this);
    for (const kind of ["agents", "presence"]) model.on(kind, () => soon(this.draw));
    asking.on("text", ({ exchange, contents }) => this.#text(exchange, contents));
    asking.on("changed", (exchange) => { exchange.dirty = true; soon(this.draw); });
  }

  choose(agent) {
    this.#agent = agent;
    if (!this.#conversations.has(agent)) this.#conversations.set(agent, { agent, exchanges: [] });
    this.messages.replaceChildren(...this.#current.exchanges.map((each) => each.view));
    soon(this.draw);
    this.messages.scrollTop = this.messages.scrollHeight;
    this.input.focus({ preventScroll: true });
  }

  get #current() {
    return this.#conversations.get(this.#agent) ?? { agent: this.#agent, exchanges: [] };
  }

  #fit() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight + 2, 180)}px`;
  }

  #ask() {
    const prompt = this.input.value.trim();
    if (!prompt) return;
    if (!this.#agent) {
      notice("Pick an agent first.");
      return;
    }
    if (!this.#conversations.has(this.#agent)) this.#conversations.set(this.#agent, { agent: this.#agent, exchanges: [] });
    const exchange = this.#asking.ask(this.#agent, prompt, this.#peers(this.#agent));
    exchange.view = this.#view(exchange);
    exchange.fresh = [];
    exchange.dirty = true;
    const { exchanges } = this.#current;
    exchanges.push(exchange);
    while (exchanges.length > KEPT) exchanges.shift().view.remove();
    this.empty.remove();
    this.messages.append(exchange.view);
    this.messages.scrollTop = this.messages.scrollHeight;
    this.input.value = "";
    this.#fit();
    soon(this.draw);
  }

  /** The replicas to try: those that are here before the others, the least busy first, by turns among equals. */
  #peers(name) {
    const told = this.#model.asks?.get(name) ?? this.#model.agents.get(name)?.replicas ?? [];
    const peers = told.length > 0 ? [...told] : [name];
    this.#turn += 1;
    const turned = peers.map((_, at) => peers[(at + this.#turn) % peers.length]);
    const { replicas, present } = this.#model;
    const rank = (peer) => (present.has(peer) || replicas.get(peer)?.state === "ready" ? 0 : 1_000_000) + (replicas.get(peer)?.inflight ?? 0);
    return turned.sort((one, other) => rank(one) - rank(other));
  }

  #cancel() {
    for (const exchange of this.#current.exchanges) this.#asking.cancel(exchange);
    this.input.focus();
  }

  #view(exchange) {
    const answer = words("", { class: "answer" });
    const note = el("p", { class: "note" });
    const view = el("article", { class: "exchange", data: { id: exchange.id } },
      el("div", { class: "question" }, words(exchange.prompt)), el("div", { class: "reply" }, el("span", { class: "by" }), answer, note));
    Object.assign(view, { answer, note, by: view.querySelector(".by"), updates: 0, size: 0 });
    answer.append("");
    return view;
  }

  #text(exchange, contents) {
    for (const each of contents) {
      if (exchange.came > LONGEST_ANSWER) break;  // a tab that nobody looks at draws nothing, and keeps no more than it would
      const text = typeof each === "string" ? each : `${pretty(each)}\n`;
      exchange.came = (exchange.came ?? 0) + text.length;
      exchange.fresh.push(text);
    }
    exchange.dirty = true;
    soon(this.draw);
  }

  draw() {
    this.#drawAgents();
    const { exchanges } = this.#current;
    const { scrollTop, scrollHeight, clientHeight } = this.messages;
    const atEnd = scrollHeight - scrollTop - clientHeight < 60;
    for (const { exchanges: all } of this.#conversations.values()) for (const each of all) if (each.dirty) this.#fill(each);
    if (exchanges.length === 0 && !this.empty.isConnected) this.messages.append(this.empty);
    if (atEnd && exchanges.length > 0) this.messages.scrollTop = this.messages.scrollHeight;
    const live = exchanges.some((each) => each.live);
    this.stop.hidden = !live;
    this.send.hidden = live && this.input.value === "";
    this.messages.setAttribute("aria-busy", String(live));
    const talks = [...this.#conversations.values()].filter((each) => each.exchanges.length > 0 && this.#conversations.size > 1);
    patch(this.chips, talks, (each) => each.agent, (each) => el("button", { type: "button", class: "chip", on: { click: () => this.choose(each.agent) } }, words(line(each.agent, 60))), (chip, each) => {
      chip.setAttribute("aria-pressed", String(each.agent === this.#agent));
      chip.classList.toggle("live", each.exchanges.some((one) => one.live));
    });
    this.chips.hidden = talks.length < 2;
  }

  #drawAgents() {
    const names = [...this.#model.agents.values()].filter((agent) => this.#model.mayAsk(agent.name)).map((agent) => agent.name);
    const shown = [...new Set([...names, ...this.#conversations.keys()])];
    patch(this.agent, shown, (name) => name, (name) => el("option", { value: name }, line(name, 80)));
    if (!shown.includes(this.#agent)) this.#agent = shown.find((name) => this.#model.agents.get(name)?.role === "coordinator") ?? shown[0] ?? "";
    if (this.#agent && this.agent.value !== this.#agent) this.agent.value = this.#agent;
    const may = shown.length > 0;
    this.send.disabled = this.input.disabled = !may;
    const nobody = this.#model.asks === null ? "Nobody is here to be asked." : "This token lets you ask nobody.";
    this.input.placeholder = may ? `Ask ${line(this.#agent, 60)}…` : nobody;
    setWords(this.empty, may ? "Pick an agent and ask it something. Answers come as they are written." : nobody);
  }

  #fill(exchange) {
    const { view } = exchange;
    exchange.dirty = false;
    const fresh = exchange.fresh.splice(0).join("");
    if (fresh) {
      const room = LONGEST_ANSWER - view.size;
      if (room > 0) view.answer.firstChild.appendData(visible(fresh.slice(0, room)));
      if (room > 0 && fresh.length > room) view.answer.append(el("em", {}, " … the rest is too long to be shown."));
      view.size += fresh.length;
      view.updates += 1;
      view.answer.dataset.updates = String(view.updates);
    }
    view.dataset.state = exchange.state;
    setWords(view.by, line(exchange.peer || exchange.agent, 128));
    if (!exchange.live && exchange.took === undefined) exchange.took = (performance.now() - exchange.began) / 1000;
    const waiting = exchange.progress !== null ? `${Math.round(exchange.progress * 100)} % ` : "";
    const notes = {
      asking: exchange.note || "asking…", answering: `${waiting}${exchange.note}`, done: `done in ${took(exchange.took)}`,
      cancelled: "cancelled", failed: exchange.error,
    };
    setWords(view.note, notes[exchange.state].slice(0, 2_000));
  }
}
