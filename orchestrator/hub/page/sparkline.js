// One figure over the last minutes, as a small line with the latest value beside it.

const WIDTH = 160;
const HEIGHT = 28;
const SVG = "http://www.w3.org/2000/svg";
const MOST = 1200;
const CAPTION = { display: "flex", justifyContent: "space-between", gap: "6px", fontSize: "12px", whiteSpace: "nowrap" };

export class Sparkline {
  /** @param seconds that the line reaches back. */
  constructor({ label, unit = "", seconds = 120 }) {
    Object.assign(this, { label, unit, seconds, points: [] });
    this.element = document.createElement("figure");
    this.element.className = "sparkline";
    this.element.setAttribute("role", "img");
    Object.assign(this.element.style, { margin: "0", minWidth: "0" });
    const caption = document.createElement("figcaption");
    Object.assign(caption.style, CAPTION);
    const name = document.createElement("span");
    name.className = "sparkline-label";
    name.textContent = label;
    Object.assign(name.style, { color: "var(--ink-dim)", overflow: "hidden", textOverflow: "ellipsis" });
    this.value = document.createElement("span");
    Object.assign(this.value.style, { fontWeight: "600", fontVariantNumeric: "tabular-nums" });
    this.value.className = "sparkline-value";
    caption.append(name, " ", this.value);
    this.area = shape("path", { fill: "var(--accent)", "fill-opacity": "0.14" });
    this.line = shape("path", {
      fill: "none", stroke: "var(--accent)", "stroke-width": "1.5", "stroke-linejoin": "round",
      "vector-effect": "non-scaling-stroke",
    });
    const picture = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    Object.assign(picture.style, { display: "block", width: "100%", height: `${HEIGHT}px` });
    picture.append(this.area, this.line);
    this.element.append(caption, picture);
    this.show();
  }

  /** Add what was measured at a time (Unix seconds); `null` = nothing was, and the line has a gap. */
  push(time, value) {
    const last = this.points.at(-1);
    if (!Number.isFinite(time)) return;
    if (last && time < last.time) this.points = this.points.filter((point) => point.time < time);
    this.points.push({ time, value: Number.isFinite(value) ? value : null });
    while (this.points.length > MOST || this.points[0].time < time - this.seconds) this.points.shift();
    this.show();
  }

  clear() {
    this.points = [];
    this.show();
  }

  show() {
    const latest = this.points.findLast((point) => point.value !== null)?.value;
    const words = latest === undefined ? "–" : `${short(latest)}${this.unit && ` ${this.unit}`}`;
    if (this.value.textContent !== words) {
      this.value.textContent = words;
      this.element.setAttribute("aria-label", `${this.label}: ${words === "–" ? "no value yet" : words}`);
    }
    const [line, area] = this.drawn();
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }

  drawn() {
    const most = Math.max(0, ...this.points.map((point) => point.value ?? 0)) || 1;
    const end = this.points.at(-1)?.time ?? 0;
    const at = ({ time, value }) => [
      WIDTH * (1 - (end - time) / this.seconds),
      HEIGHT - 2 - (HEIGHT - 5) * (Math.max(0, value) / most),
    ];
    const pieces = [];
    let piece = [];
    for (const point of [...this.points, { value: null }]) {
      if (point.value !== null) piece.push(at(point).map((number) => number.toFixed(1)));
      else if (piece.length) {
        pieces.push(piece);
        piece = [];
      }
    }
    const line = pieces.map((points) => `M${points.map((point) => point.join(" ")).join("L")}`);
    const area = pieces.map((points, place) => `${line[place]}L${points.at(-1)[0]} ${HEIGHT}L${points[0][0]} ${HEIGHT}Z`);
    return [line.join(""), area.join("")];
  }
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${(value / 1e9).toPrecision(3)}G`;
  if (size >= 1e6) return `${(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${(value / 1e3).toPrecision(3)}k`;
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return String(Number(value.toPrecision(size >= 1 ? 3 : 2)));
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}
