// Load and latency as lines: what the updates of the runs tell, added up.

import { Sparkline } from "./sparkline.js";

const STEP = 1_000;

export class FigureLines {
  #messages = 0;
  #ended = 0;
  #failed = 0;
  #slowest = null;
  #model;

  constructor(root, model) {
    this.#model = model;
    const line = (label, unit) => {
      const made = new Sparkline({ label, unit, seconds: 120 });
      root.append(made.element);
      return made;
    };
    this.messages = line("messages", "/s");
    this.inflight = line("in flight", "");
    this.ended = line("tasks", "/s");
    this.failed = line("failed", "/s");
    this.latency = line("latency p95", "s");
    model.on("load", (update) => this.#take(update));
    model.on("flows", (flows) => { for (const [, , , count] of flows) this.#messages += count; });
    setInterval(() => { if (model.runs.size > 0 && !document.hidden) this.#push(); }, STEP);
  }

  #take(update) {
    for (const each of update.load ?? []) {
      this.#ended += each.ended ?? 0;
      this.#failed += each.failed ?? 0;
      if (Number.isFinite(each.p95)) this.#slowest = Math.max(this.#slowest ?? 0, each.p95);
    }
  }

  #inflight() {
    const loads = [...this.#model.runs.values()].flatMap((run) => [...run.load.values()]);
    return loads.reduce((sum, each) => sum + (each.inflight ?? 0), 0);
  }

  #push() {
    const now = Date.now() / 1000;
    this.messages.push(now, this.#messages);
    this.inflight.push(now, this.#inflight());
    this.ended.push(now, this.#ended);
    this.failed.push(now, this.#failed);
    if (this.#slowest !== null) this.latency.push(now, this.#slowest);
    this.#messages = this.#ended = this.#failed = 0;
    this.#slowest = null;
  }
}
