// Which part of the graph is seen, and how large: moved by wheel, drag, pinch and keys.

const LARGEST = 5;
const MARGIN = 22;
const STEP = 60;
const CLICK = 5;

export class View {
  constructor() {
    this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true;
    this.width = this.height = 0;
    this.bounds = { width: 1, height: 1 };
  }

  /** Show all of the graph, in the middle. */
  fit(largest = 1.4) {
    const { width, height, bounds } = this;
    const room = (size, all) => Math.max(1, size - 2 * MARGIN) / all;
    this.scale = Math.min(largest, room(width, bounds.width), room(height, bounds.height));
    this.x = (width - bounds.width * this.scale) / 2;
    this.y = (height - bounds.height * this.scale) / 2;
    this.fitted = true;
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const least = Math.min(0.1, this.scale);
    const scale = Math.min(LARGEST, Math.max(least, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.keep();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.keep();
  }

  /** Let some of the graph stay in sight, however far it is pushed. */
  keep() {
    const held = (at, size, all) => Math.min(size * 0.8, Math.max(size * 0.2 - all * this.scale, at));
    this.x = held(this.x, this.width, this.bounds.width);
    this.y = held(this.y, this.height, this.bounds.height);
  }

  /** Move as little as brings a node into sight. */
  reveal({ x, y, w, h }) {
    const shift = (begin, end, size) => {
      if (end - begin > size - 2 * MARGIN || begin < MARGIN) return MARGIN - begin;
      return end > size - MARGIN ? size - MARGIN - end : 0;
    };
    const dx = shift(this.x + x * this.scale, this.x + (x + w) * this.scale, this.width);
    const dy = shift(this.y + y * this.scale, this.y + (y + h) * this.scale, this.height);
    if (!this.fitted && (dx || dy)) this.pan(dx, dy);
  }

  /** Return where in the graph a point of the canvas is. */
  within(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }
}

/** Follow what a person does with `surface`; tell `moved()`, `clicked(x, y)` and `hovered(x, y)` or `hovered(null)`. */
export function steer(surface, view, { moved, clicked, hovered }) {
  const pointers = new Map();
  let travelled = 0;
  const at = (event) => {
    const box = surface.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const spread = () => {
    const [[x0, y0], [x1, y1]] = pointers.values();
    return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, size: Math.hypot(x0 - x1, y0 - y1) };
  };
  surface.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, at(event));
    surface.setPointerCapture(event.pointerId);
  });
  surface.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") hovered(x, y);
      return;
    }
    travelled += Math.hypot(x - before[0], y - before[1]);
    if (pointers.size === 1) {
      pointers.set(event.pointerId, [x, y]);
      if (travelled < CLICK) return;
      view.pan(x - before[0], y - before[1]);
    } else if (pointers.size === 2) {
      const old = spread();
      pointers.set(event.pointerId, [x, y]);
      const now = spread();
      view.zoom(now.size / Math.max(1, old.size), now.x, now.y);
      view.pan(now.x - old.x, now.y - old.y);
    }
    moved();
  });
  const ended = (event) => {
    const known = pointers.delete(event.pointerId);
    if (known && !pointers.size && event.type === "pointerup" && travelled < CLICK) clicked(...at(event));
  };
  surface.addEventListener("pointerup", ended);
  surface.addEventListener("pointercancel", ended);
  surface.addEventListener("pointerleave", () => hovered(null));
  surface.addEventListener("dblclick", () => {
    view.fit();
    moved();
  });
  surface.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
      view.zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0022)), ...at(event));
      moved();
    },
    { passive: false },
  );
}

/** Do what a key asks for; return whether it asks for anything. */
export function keyed(view, key) {
  const moves = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
  if (Object.hasOwn(moves, key)) view.pan(...moves[key]);
  else if (key === "+" || key === "=") view.zoom(1.25);
  else if (key === "-" || key === "_") view.zoom(0.8);
  else if (key === "0") view.fit();
  else return false;
  return true;
}
