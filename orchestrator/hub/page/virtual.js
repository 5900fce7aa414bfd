// A table of rows of one height, of which only those in sight are elements, however many there are.

import { el, soon } from "./dom.js";

const SPARE = 6;
let tables = 0;

export class Rows {
  #items = [];
  #pool = [];
  #active = null;
  #height = 28;
  #atEnd = true;
  #options;
  #id = `rows${++tables}`;

  /** `options`: label, columns (names), make() -> row, fill(row, item), keyOf(item), onOpen(item), follow (keep to the end). */
  constructor(options) {
    this.#options = options;
    this.space = el("div", { class: "rows-space", role: "presentation" });
    this.body = el("div", { class: "rows", tabIndex: 0, role: "grid", "aria-label": options.label }, this.space);
    this.element = el("div", { class: "rows-box" }, options.head ?? null, this.body);
    this.draw = this.draw.bind(this);
    this.body.addEventListener("scroll", () => {
      if (this.body.clientHeight > 0) this.#atEnd = this.#nearEnd();
      soon(this.draw);
    }, { passive: true });
    this.body.addEventListener("keydown", (event) => this.#key(event));
    this.space.addEventListener("click", (event) => this.#click(event));
    new ResizeObserver(() => soon(this.draw)).observe(this.body);
  }

  #nearEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.body;
    return scrollHeight - scrollTop - clientHeight < this.#height;
  }

  /** `dropped`: how many rows have gone from the top, so that those in sight stay where they are. */
  set(items, dropped = 0) {
    this.#items = items;
    this.body.setAttribute("aria-rowcount", String(items.length));
    if (dropped > 0 && !(this.#options.follow && this.#atEnd)) this.body.scrollTop -= dropped * this.#height;
    this.draw();
  }

  draw() {
    this.#measure();
    const room = this.body.clientHeight;
    if (room === 0) return;
    const height = this.#height;
    this.space.style.height = `${this.#items.length * height}px`;
    if (this.#options.follow && this.#atEnd) this.body.scrollTop = this.#items.length * height;
    const first = Math.max(0, Math.floor(this.body.scrollTop / height) - SPARE);
    const last = Math.min(this.#items.length, Math.ceil((this.body.scrollTop + room) / height) + SPARE);
    for (let at = first; at < last; at += 1) this.#show(this.#row(at - first), at);
    for (let spare = Math.max(0, last - first); spare < this.#pool.length; spare += 1) this.#pool[spare].hidden = true;
    this.#describe();
  }

  #row(number) {
    if (number < this.#pool.length) return this.#pool[number];
    const row = this.#options.make();
    row.setAttribute("role", "row");
    row.classList.add("row");
    this.#pool.push(row);
    this.space.append(row);
    return row;
  }

  #show(row, at) {
    const item = this.#items[at];
    const key = this.#options.keyOf(item);
    row.hidden = false;
    row.style.transform = `translateY(${at * this.#height}px)`;
    row.at = at;
    row.id = `${this.#id}-${at}`;
    row.setAttribute("aria-rowindex", String(at + 1));
    row.classList.toggle("active", key === this.#active);
    row.setAttribute("aria-selected", String(key === this.#active));
    this.#options.fill(row, item);
  }

  #measure() {
    const told = parseFloat(getComputedStyle(this.body).getPropertyValue("--row"));
    if (told > 0) this.#height = told;
  }

  #describe() {
    const at = this.#at();
    if (at >= 0) this.body.setAttribute("aria-activedescendant", `${this.#id}-${at}`);
    else this.body.removeAttribute("aria-activedescendant");
  }

  #at() {
    if (this.#active === null) return -1;
    return this.#items.findIndex((item) => this.#options.keyOf(item) === this.#active);
  }

  #click(event) {
    const row = event.target.closest(".row");
    const item = row && this.#items[row.at];
    if (!item) return;
    this.#active = this.#options.keyOf(item);
    this.#atEnd = false;
    this.draw();
    this.#options.onOpen?.(item);
  }

  #key(event) {
    const page = Math.max(1, Math.floor(this.body.clientHeight / this.#height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const at = this.#at();
    if (event.key in steps && this.#items.length > 0) {
      const from = at < 0 ? (steps[event.key] > 0 ? -1 : this.#items.length) : at;
      this.#activate(Math.min(this.#items.length - 1, Math.max(0, from + steps[event.key])));
    } else if (event.key === "Enter" && at >= 0) this.#options.onOpen?.(this.#items[at]);
    else return;
    event.preventDefault();
  }

  #activate(at) {
    this.#atEnd = this.#options.follow && at === this.#items.length - 1;
    this.#active = this.#options.keyOf(this.#items[at]);
    const top = at * this.#height;
    if (top < this.body.scrollTop) this.body.scrollTop = top;
    const under = top + this.#height - this.body.clientHeight;
    if (under > this.body.scrollTop) this.body.scrollTop = under;
    this.draw();
  }
}
