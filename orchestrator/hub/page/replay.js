// The bar of a recording that is shown in place of a run: play and pause, how fast, and where.

import { clock, el, notice, setWords, soon } from "./dom.js";

const SPEEDS = [0.25, 0.5, 1, 2, 5, 10, 50];

export class Replay {
  #model;
  #ask;
  #paused = false;
  #dragging = false;

  constructor(root, model, ask) {
    this.#model = model;
    this.#ask = ask;
    this.element = root;
    this.play = el("button", { type: "button", class: "main", "aria-label": "pause", on: { click: () => this.#turn() } }, "❚❚");
    this.speed = el("select", { class: "quiet", "aria-label": "speed", on: { change: () => this.#say({ speed: Number(this.speed.value) }) } },
      ...SPEEDS.map((each) => el("option", { value: String(each) }, `${each}×`)));
    this.seek = el("input", { type: "range", min: "0", step: "0.1", "aria-label": "position in seconds", on: {
      input: () => { this.#dragging = true; this.#label(Number(this.seek.value)); },
      change: () => { this.#dragging = false; this.#say({ position: Number(this.seek.value) }); },
    } });
    this.where = el("span", { class: "mono dim" });
    root.append(el("strong", {}, "Replay"), this.play, this.speed, this.seek, this.where);
    this.draw = this.draw.bind(this);
    for (const kind of ["outline", "position"]) model.on(kind, () => soon(this.draw));
  }

  draw() {
    const run = this.#model.replay;
    this.element.hidden = run === null;
    document.body.classList.toggle("replaying", run !== null);
    if (run === null) return;
    const { seconds, speed = 1 } = run.outline.replay;
    this.seek.max = String(seconds);
    if (document.activeElement !== this.speed && !this.asked) this.speed.value = String(SPEEDS.reduce((best, each) => (Math.abs(each - speed) < Math.abs(best - speed) ? each : best), 1));
    if (this.#dragging) return;
    this.seek.value = String(run.position ?? 0);
    this.#label(run.position ?? 0);
  }

  #label(position) {
    const { began, seconds } = this.#model.replay.outline.replay;
    const told = `${clock(began + position).slice(0, 8)} · ${position.toFixed(1)} of ${seconds.toFixed(1)} s`;
    this.seek.setAttribute("aria-valuetext", told);
    setWords(this.where, told);
  }

  #turn() {
    this.#paused = !this.#paused;
    this.play.textContent = this.#paused ? "▶" : "❚❚";
    this.play.setAttribute("aria-label", this.#paused ? "play" : "pause");
    this.#say({ paused: this.#paused });
  }

  #say(given) {
    if (given.speed) this.asked = true;
    const run = this.#model.replay;
    if (run) this.#ask(run.peer, "play", given).catch((refusal) => notice(`The replay did not take this: ${refusal.message}`, "bad"));
  }
}
