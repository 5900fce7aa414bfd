// One task, opened: what it is, what it was given and gave, each attempt with its error, and what may be done about it.

import { clock, el, line, long, notice, pretty, took, words } from "./dom.js";

const OVER = new Set(["done", "dead", "cancelled", "failed", "lost"]);
const RETRIED = new Set(["dead"]);
const FRAMES = 50;
const AGAIN = 500;
const OUTCOMES = new Set(["done", "failed", "lapsed", "cancelled", "running"]);

export class TaskDetail {
  #ask;
  #onClose;
  #shown = "";
  /** Reads the task that is shown again; nothing where no store can tell more of it. */
  #again = null;
  #timer = 0;
  #filled = "";

  constructor(ask, onClose) {
    this.#ask = ask;
    this.#onClose = onClose;
    this.element = el("aside", { class: "detail", "aria-label": "task", hidden: true });
  }

  /** `admin`: whoever looks may change something; `stored`: the run can tell more of it. */
  show(task, admin, stored) {
    this.#shown = task.id;
    this.#again = stored ? () => this.#read(task, admin, true) : null;
    this.#filled = "";
    this.#fill(task, admin, stored);
    this.element.hidden = false;
    this.element.querySelector(".close").focus({ preventScroll: true });
    if (stored) this.#read(task, admin);
  }

  /** Something has become of some task: what is shown may be of yesterday. It is read again twice a second at most. */
  refresh() {
    if (this.#timer || !this.#again || this.element.hidden) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (!this.element.hidden) this.#again?.();
    }, AGAIN);
  }

  /** Returns whether it was open. */
  close() {
    const open = !this.element.hidden;
    this.element.hidden = true;
    this.#shown = "";
    this.#again = null;
    if (open) this.#onClose();
    return open;
  }

  /** `again`: it was read before, and what cannot be read now is left as it is. */
  async #read(task, admin, again = false) {
    try {
      const told = await this.#ask(task.run, "task", { id: task.id });
      if (this.#shown !== task.id || !told) return;
      const filled = JSON.stringify(told);
      if (filled === this.#filled) return;  // whoever reads it, and has scrolled or marked something, is not disturbed
      this.#filled = filled;
      const focused = this.element.contains(document.activeElement) ? document.activeElement.className : "";
      this.#fill({ ...task, ...told }, admin, true);
      if (focused) (this.element.querySelector(`.${focused.split(" ").at(-1)}`) ?? this.element.querySelector(".close")).focus({ preventScroll: true });
    } catch (refusal) {
      if (this.#shown === task.id && !again) notice(`The task could not be read: ${refusal.message}`, "bad");
    }
  }

  #fill(task, admin, stored) {
    const over = OVER.has(task.state);
    const may = admin && stored;
    const act = (what, given, said) => async () => {
      try {
        await this.#ask(task.run, what, { ids: [task.id], ...given });
        notice(said, "good");
        await this.#read(task, admin);
      } catch (refusal) {
        notice(`Not done: ${refusal.message}`, "bad");
      }
    };
    const why = admin ? "its run keeps it nowhere" : "your token may look, and change nothing";
    const retry = el("button", { type: "button", class: "main retry", disabled: !may || !RETRIED.has(task.state), title: may ? "" : why, on: { click: act("retry", {}, "It is queued again.") } }, "Retry");
    const cancel = el("button", { type: "button", class: "stop cancel", disabled: !may || over, title: may ? "" : why, on: { click: act("cancel", {}, "It is cancelled.") } }, "Cancel");
    const close = el("button", { type: "button", class: "quiet close", "aria-label": "close", on: { click: () => this.close() } }, "×");
    this.element.replaceChildren(
      el("div", { class: "detail-head" }, words(line(task.type ?? task.task, 120), { class: "detail-title" }), el("span", { class: `state ${/^[a-z]{1,12}$/.test(task.state) ? `state-${task.state}` : ""}` }, words(line(task.state, 20))), close),
      el("div", { class: "detail-actions" }, retry, cancel),
      facts(task),
      ...attempts(task),
      ...(task.payload !== undefined ? [el("h3", {}, "Payload"), long(readable(task.payload))] : []),
      ...(task.result !== undefined && task.result !== null ? [el("h3", {}, "Result"), long(readable(task.result))] : []));
  }
}

function facts(task) {
  const told = [
    ["id", task.id], ["queue", task.queue ?? task.peer], ["from", task.origin ?? task.from],
    ["attempt", task.maxAttempts ? `${task.attempt} of ${task.maxAttempts}` : task.attempt],
    ["created", at(task.created)], ["due", at(task.due)], ["ended", at(task.ended ?? (task.seconds ? task.time : undefined))], ["took", took(task.seconds ?? undefined)],
  ];
  const list = el("dl", { class: "facts" });
  for (const [name, value] of told) if (value !== undefined && value !== null && value !== "") list.append(el("dt", {}, name), el("dd", {}, words(line(value, 200), { class: "mono" })));
  return list;
}

const readable = (value) => (typeof value === "string" ? value : pretty(value));

const at = (seconds) => (Number.isFinite(seconds) && seconds > 0 ? clock(seconds) : "");

function attempts(task) {
  const all = Array.isArray(task.attempts) ? task.attempts : [];
  if (all.length === 0) return task.error ? [el("h3", {}, "Error"), failure(task.error)] : [];
  return [el("h3", {}, "Attempts"), el("ol", { class: "attempts" }, ...all.map((each) => el("li", { class: `attempt ${OUTCOMES.has(each.outcome) ? each.outcome : ""}` },
    el("div", { class: "attempt-head" }, el("b", {}, `#${Number(each.number) || 0}`), words(line(each.outcome, 60)), el("span", { class: "dim" }, `${at(each.began)}${each.ended ? ` · ${took(each.ended - each.began)}` : ""}`)),
    each.error ? failure(each.error) : null)))];
}

function failure(error) {
  if (typeof error === "string") return long(error, { class: "long failure" });
  const frames = Array.isArray(error.frames) ? error.frames.slice(-FRAMES) : [];
  return el("div", {}, long([error.type, error.message].filter(Boolean).join(": "), { class: "long failure" }),
    frames.length ? long(frames.map((each) => (typeof each === "string" ? each : pretty(each))).join("\n")) : null);
}
