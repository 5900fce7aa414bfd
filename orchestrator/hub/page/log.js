// What happens: lines of the log, who came and went, and what the connection did; filtered, bounded, paused at will.

import { clock, el, line, long, patch, pretty, setWords, soon, words } from "./dom.js";
import { now } from "./time.js";
import { Rows } from "./virtual.js";

const MOST = 2_000;
const WAITING = 2_000;
const LEVELS = ["debug", "info", "warning", "error", "critical"];
const FOUND_IN = 4_000;

export class Log {
  #all = [];
  #shown = [];
  #paused = false;
  #waiting = [];
  #missed = 0;
  #number = 0;
  #dropped = 0;
  #level = 1;
  #agent = "";
  #text = "";
  #agents = new Set();

  constructor(root) {
    this.filter = el("input", { type: "search", class: "filter", placeholder: "Filter log", "aria-label": "filter log by text",
      on: { input: () => { this.#text = this.filter.value.toLowerCase(); this.#sift(); } } });
    this.level = el("select", { class: "quiet", "aria-label": "least level", on: { change: () => { this.#level = Number(this.level.value); this.#sift(); } } },
      ...LEVELS.map((name, at) => el("option", { value: String(at) }, name)));
    this.level.value = "1";
    this.agent = el("select", { class: "quiet", "aria-label": "agent", on: { change: () => { this.#agent = this.agent.value; this.#sift(); } } }, el("option", { value: "" }, "all agents"));
    this.pause = el("button", { type: "button", class: "quiet", "aria-pressed": "false", on: { click: () => this.#turn() } }, "Pause");
    this.note = el("span", { class: "count", role: "status" });
    this.rows = new Rows({ label: "log, newest last", follow: true, keyOf: (each) => each.number, make: makeRow, fill: fillRow, onOpen: (each) => this.#show(each) });
    this.rows.element.classList.add("log-rows");
    this.detail = el("aside", { class: "detail", "aria-label": "log line", hidden: true });
    root.append(el("div", { class: "panel-head" }, el("h2", {}, "Log"), this.note, this.level, this.agent, this.pause), this.filter, this.rows.element, this.detail);
    this.draw = this.draw.bind(this);
  }

  /** Take what a run tells of its log; a whole update replaces what it told before. */
  told({ run, update }) {
    if (update.whole) {
      this.#all = this.#all.filter((each) => each.run !== run);
      this.#waiting = this.#waiting.filter((each) => each.run !== run);
      this.#sift();
    }
    this.add((update.log ?? []).map((each) => ({ ...each, run, agent: each.agent ?? "" })));
    if (update.missed) this.say("warning", `${update.missed} lines or ends of tasks came too fast to be told`, { source: run });
  }

  say(level, event, more = {}) {
    this.add([{ time: now(), level, event, source: "page", agent: "", ...more }]);
  }

  add(lines) {
    if (lines.length === 0) return;
    for (const each of lines) this.#waiting.push({ ...each, rank: Math.max(0, LEVELS.indexOf(each.level)), number: ++this.#number });
    if (this.#waiting.length > WAITING) {
      this.#missed += this.#waiting.length - WAITING;
      this.#waiting.splice(0, this.#waiting.length - WAITING);
    }
    soon(this.draw);
  }

  draw() {
    if (this.#paused) {
      setWords(this.note, `paused, ${this.#waiting.length + this.#missed} new`);
      return;
    }
    const fresh = this.#waiting.splice(0);
    this.#missed = 0;
    for (const each of fresh) {
      if (each.agent && this.#agents.size < 1_000) this.#agents.add(each.agent);
      this.#all.push(each);
      if (this.#fits(each)) this.#shown.push(each);
    }
    if (this.#all.length > MOST) this.#all.splice(0, this.#all.length - MOST);
    const oldest = this.#all[0]?.number ?? 0;
    while (this.#dropped < this.#shown.length && this.#shown[this.#dropped].number < oldest) this.#dropped += 1;
    const dropped = this.#dropped;
    this.#shown.splice(0, dropped);
    this.#dropped = 0;
    patch(this.agent, ["", ...[...this.#agents].sort()], (name) => name, (name) => el("option", { value: name }, line(name, 60) || "all agents"));
    setWords(this.note, `${this.#shown.length.toLocaleString("en")} lines`);
    this.rows.set(this.#shown, dropped);
  }

  #fits(each) {
    if (each.rank < this.#level || (this.#agent && each.agent !== this.#agent)) return false;
    if (!this.#text) return true;
    each.searched ??= `${each.source} ${each.event} ${each.exception ?? ""} ${each.fields ? pretty(each.fields) : ""}`.slice(0, FOUND_IN).toLowerCase();
    return each.searched.includes(this.#text);
  }

  #sift() {
    this.#shown = this.#all.filter((each) => this.#fits(each));
    soon(this.draw);
  }

  #turn() {
    this.#paused = !this.#paused;
    this.pause.setAttribute("aria-pressed", String(this.#paused));
    this.pause.textContent = this.#paused ? "Go on" : "Pause";
    soon(this.draw);
  }

  #show(each) {
    const close = el("button", { type: "button", class: "quiet close", "aria-label": "close", on: { click: () => this.close() } }, "×");
    this.detail.replaceChildren(
      el("div", { class: "detail-head" }, el("span", { class: `level ${each.level}` }, words(line(each.level, 20))), el("time", {}, clock(each.time)), words(line(each.source, 128), { class: "mono" }), close),
      long(each.event, { class: "long event" }),
      ...(each.fields && Object.keys(each.fields).length ? [el("h3", {}, "Fields"), long(pretty(each.fields))] : []),
      ...(each.exception ? [el("h3", {}, "Exception"), long(each.exception)] : []));
    this.detail.hidden = false;
    close.focus({ preventScroll: true });
  }

  /** Returns whether there was something to close. */
  close() {
    const open = !this.detail.hidden;
    this.detail.hidden = true;
    if (open) this.rows.body.focus({ preventScroll: true });
    return open;
  }
}

function makeRow() {
  return el("div", {}, el("time", { role: "gridcell" }), el("span", { class: "level", role: "gridcell" }), words("", { class: "source mono", role: "gridcell" }), words("", { class: "event", role: "gridcell" }));
}

function fillRow(row, each) {
  if (row.shown === each) return;
  row.shown = each;
  const [time, level, source, event] = row.children;
  time.textContent = clock(each.time).slice(0, 12);
  setWords(level, line(each.level, 12));
  level.className = `level ${LEVELS.includes(each.level) ? each.level : ""}`;
  setWords(source, line(each.source, 60));
  const fields = each.fields && Object.keys(each.fields).length ? `  ${Object.entries(each.fields).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ").slice(0, 300)}` : "";
  setWords(event, line(`${each.event}${fields}`, 400));
}
