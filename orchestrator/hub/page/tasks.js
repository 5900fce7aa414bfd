// The tasks of the runs: those that a store keeps, as the run reads them, and those of which updates tell.

import { clock, age, el, line, notice, patch, setWords, soon, took, words } from "./dom.js";
import { now } from "./time.js";
import { TaskDetail } from "./task_detail.js";
import { Rows } from "./virtual.js";

const LIMIT = 200;
const AGAIN = 1_000;
/** What people read, and the states of tasks that it stands for. */
export const GROUPS = [
  ["running", ["running"]],
  ["queued", ["queued"]],
  ["retrying", ["retrying"]],
  ["dead", ["dead", "failed", "lost"]],
  ["done", ["done"]],
  ["cancelled", ["cancelled"]],
];
const STORED = new Set(["running", "queued", "retrying", "dead", "done", "cancelled"]);
const GROUP_OF = new Map(GROUPS.flatMap(([group, states]) => states.map((state) => [state, group])));
export const groupOf = (state) => GROUP_OF.get(state) ?? "running";

export class Tasks {
  #model;
  #ask;
  #group = "";
  #text = "";
  #kept = new Map();
  #counts = new Map();
  #more = new Map();
  #timer = 0;
  #wanted = false;
  #visible = false;

  /** `ask(run, what, given)` resolves to what a run answers. */
  constructor(root, model, ask) {
    this.#model = model;
    this.#ask = ask;
    this.filter = el("input", { type: "search", class: "filter", placeholder: "Filter tasks by type, queue, id", "aria-label": "filter tasks",
      on: { input: () => { this.#text = this.filter.value.trim(); this.#kept.clear(); soon(this.draw); this.#refresh(); } } });
    this.groups = el("div", { class: "groups-bar", role: "group", "aria-label": "tasks by state" });
    const columns = ["State", "Task", "Agent", "Attempt", "Age", "Error"];
    this.rows = new Rows({ label: "tasks", keyOf: (each) => `${each.run} ${each.id}`, make: makeRow, fill: fillRow, onOpen: (each) => this.open(each),
      head: el("div", { class: "row head", "aria-hidden": "true" }, ...columns.map((each) => el("span", {}, each))) });
    this.rows.element.classList.add("task-rows");
    this.later = el("button", { type: "button", class: "quiet", hidden: true, on: { click: () => this.#load(true) } }, "Older ones");
    this.empty = el("p", { class: "empty" }, "No tasks to show.");
    this.detail = new TaskDetail((run, what, given) => this.#ask(run, what, given).then((result) => { this.#refresh(); return result; }), () => this.rows.body.focus({ preventScroll: true }));
    root.append(el("div", { class: "panel-head" }, el("h2", {}, "Tasks"), this.groups), this.filter, this.empty, this.rows.element, this.later, this.detail.element);
    this.draw = this.draw.bind(this);
    model.on("tasks", () => { soon(this.draw); this.#refresh(); this.detail.refresh(); });
    model.on("outline", () => { this.#forgetGone(); soon(this.draw); this.#refresh(); });
  }

  /** Whether anybody can see the table: what a store keeps is asked for only then. */
  seen(visible) {
    this.#visible = visible;
    if (visible) this.#refresh();
  }

  open(task) {
    const run = this.#model.runs.get(task.run);
    this.detail.show(task, run?.outline?.admin === true, run?.outline?.keepsTasks === true && task.stored === true);
  }

  close() {
    return this.detail.close();
  }

  /** Read the stores again, at once or in a moment: not more often than once a second, however much happens. */
  #refresh() {
    this.#wanted = true;
    if (this.#timer || !this.#visible) return;
    this.#wanted = false;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.#wanted) this.#refresh();
    }, AGAIN);
    this.#load(false);
  }

  #wish() {
    const given = { limit: LIMIT };
    if (STORED.has(this.#group)) given.states = [this.#group];
    if (this.#text) given.text = this.#text;
    return given;
  }

  #forgetGone() {
    for (const known of [this.#kept, this.#counts, this.#more]) {
      for (const run of [...known.keys()]) if (!this.#model.runs.has(run)) known.delete(run);
    }
  }

  #load(older) {
    const runs = [...this.#model.runs.values()].filter((run) => run.outline?.keepsTasks);
    for (const { peer } of runs) {
      const given = this.#wish();
      const last = this.#kept.get(peer)?.at(-1);
      if (older && last) given.before = last.id;
      this.#ask(peer, "tasks", given).then((told) => {
        const fresh = (told?.tasks ?? []).map((each) => ({ ...each, run: peer, stored: true }));
        if (given.text !== this.#wish().text || given.states?.[0] !== this.#wish().states?.[0]) return;
        const known = this.#kept.get(peer) ?? [];
        const met = older ? -1 : known.findIndex((each) => each.id === fresh.at(-1)?.id);
        this.#kept.set(peer, older ? [...known, ...fresh] : [...fresh, ...(met < 0 ? [] : known.slice(met + 1))]);
        if (older || known.length <= LIMIT || met < 0) this.#more.set(peer, fresh.length >= LIMIT);
        this.#counts.set(peer, told?.counts ?? {});
        soon(this.draw);
      }).catch((refusal) => { if (refusal.code === "run") notice(`Tasks could not be read: ${refusal.message}`, "bad"); });
    }
  }

  #all() {
    const found = new Map();
    for (const tasks of this.#kept.values()) for (const each of tasks) found.set(each.id, each);
    for (const each of this.#model.tasks.values()) {
      const kept = found.get(each.id);
      if (kept === undefined && !(each.kept && this.#model.runs.get(each.run)?.outline?.keepsTasks)) found.set(each.id, each);
    }
    const text = this.#text.toLowerCase();
    const fits = (each) => (!this.#group || groupOf(each.state) === this.#group) && (!text || [each.id, each.type, each.task, each.queue, each.peer, each.origin, each.from, each.error].some((one) => String(one ?? "").toLowerCase().includes(text)));
    return [...found.values()].filter(fits).sort((one, other) => began(other) - began(one));
  }

  draw() {
    const tasks = this.#all();
    const counts = new Map();
    const count = (state, number) => counts.set(groupOf(state), (counts.get(groupOf(state)) ?? 0) + number);
    for (const each of this.#counts.values()) for (const [state, number] of Object.entries(each)) count(state, Number(number) || 0);
    for (const each of this.#model.tasks.values()) if (!each.kept || !this.#model.runs.get(each.run)?.outline?.keepsTasks) count(each.state, 1);
    const groups = [["", [...counts.values()].reduce((sum, each) => sum + each, 0)], ...GROUPS.map(([group]) => [group, counts.get(group) ?? 0])];
    patch(this.groups, groups, ([group]) => group, ([group]) => el("button", { type: "button", class: `chip state-${group || "all"}`, data: { group }, on: { click: () => { this.#group = group; this.#kept.clear(); soon(this.draw); this.#refresh(); } } }, group || "all", " ", el("b", {})), (chip, [group, number]) => {
      chip.setAttribute("aria-pressed", String(group === this.#group));
      setWords(chip.lastElementChild, number ? number.toLocaleString("en") : "");
    });
    this.rows.set(tasks);
    this.empty.hidden = tasks.length > 0;
    this.rows.element.hidden = tasks.length === 0;
    this.later.hidden = ![...this.#more.values()].some(Boolean);
  }
}

const began = (task) => task.ended ?? task.created ?? task.time ?? 0;

function makeRow() {
  const cell = (name) => words("", { class: name, role: "gridcell" });
  return el("div", {}, cell("state"), cell("type"), cell("queue mono"), cell("attempt"), cell("age"), cell("error"));
}

function fillRow(row, task) {
  const [state, type, queue, attempt, old, error] = row.children;
  const group = groupOf(task.state);
  row.dataset.task = task.id;
  row.dataset.state = group;
  setWords(state, group);
  state.className = `state state-${group}`;
  setWords(type, line(task.type ?? task.task, 80));
  setWords(queue, line(task.queue ?? task.peer, 128));
  setWords(attempt, task.maxAttempts ? `${task.attempt}/${task.maxAttempts}` : String(task.attempt ?? 1));
  setWords(old, task.seconds !== undefined && task.seconds !== null ? took(task.seconds) : age(now() - began(task)));
  const message = typeof task.error === "string" ? task.error : task.error ? `${task.error.type ?? ""}: ${task.error.message ?? ""}` : "";
  setWords(error, line(message, 240));
  row.title = `${line(task.id, 128)} · ${clock(began(task))}`;
}
