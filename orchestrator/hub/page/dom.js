// Elements, made and patched. Whatever is shown goes through textContent: nothing here, or anywhere, parses markup.

const PROPERTIES = new Set(["value", "disabled", "hidden", "type", "htmlFor", "tabIndex", "checked", "title", "placeholder"]);

/** Make an element. `given`: class, on (events), data, aria-*, role, and the properties above; children are texts or nodes. */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (name === "class") made.className = value;
    else if (name === "on") for (const [event, then] of Object.entries(value)) made.addEventListener(event, then);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (PROPERTIES.has(name)) made[name] = value;
    else made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Show a stranger's words: isolated, so that their direction stays theirs, with what cannot be seen made visible. */
export function words(text, given = {}) {
  const made = el("bdi", given);
  setWords(made, text);
  return made;
}

export function setWords(element, text) {
  const seen = visible(text);
  if (element.textContent !== seen) element.textContent = seen;
}

// Control characters but tab and line feed, what steers direction, what has no width, and halves of characters.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const PICTURES = 0x2400;

export function visible(text) {
  const plain = typeof text === "string" ? text : String(text ?? "");
  return plain.replace(UNSEEN, (one) => {
    const code = one.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(PICTURES + code);
    return code === 0x7f ? "\u2421" : `\u27e8${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

/** One line: line feeds and tabs are shown, too, and what is longer is cut. */
export function line(text, most = 300) {
  const plain = typeof text === "string" ? text : String(text ?? "");
  const short = plain.length > most ? `${plain.slice(0, most)}…` : plain;
  return visible(short).replace(/\n/g, "\u240a").replace(/\t/g, " ");
}

const FIRST = 2_000;
const STEP = 32_000;

/** A long text of which the beginning is shown, and more on request. */
export function long(text, given = {}) {
  const plain = typeof text === "string" ? text : pretty(text);
  const body = el("pre", { class: "long", ...given });
  setWords(body, plain.slice(0, FIRST));
  if (plain.length <= FIRST) return body;
  let shown = FIRST;
  const more = el("button", { class: "quiet small", type: "button" });
  const name = () => { more.textContent = `Show more (${(plain.length - shown).toLocaleString("en")} characters left)`; };
  more.addEventListener("click", () => {
    shown = Math.min(shown + STEP, plain.length);
    setWords(body, plain.slice(0, shown));
    if (shown >= plain.length) more.remove();
    else name();
  });
  name();
  return el("div", { class: "long-box" }, body, more);
}

export function pretty(value) {
  try {
    return JSON.stringify(value, null, 2) ?? "";
  } catch {
    return String(value);
  }
}

/** Make the children of `parent` those of `items`, by key: nodes are kept, moved only where the order has changed. */
export function patch(parent, items, keyOf, make, update) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let node = known.get(key);
    if (node === undefined) {
      node = make(item);
      known.set(key, node);
    }
    update?.(node, item);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  if (known.size !== wanted.size) {
    for (const [key, node] of known) {
      if (wanted.has(key)) continue;
      node.remove();
      known.delete(key);
    }
  }
}

const due = new Set();
let asked = false;

/** Have `draw` called in the next frame, once, however often it is asked for. */
export function soon(draw) {
  due.add(draw);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const now = [...due];
    due.clear();
    for (const each of now) {
      try {
        each();
      } catch (error) {
        told(each, error);
      }
    }
  });
}

const failed = new WeakSet();

/** One view that cannot be drawn keeps no other from it; it is said once, however often it is tried again. */
function told(draw, error) {
  if (failed.has(draw)) return;
  failed.add(draw);
  console.error("a view could not be drawn", error);
}

/** How long something has been so: 4s, 12m, 3h, 2d. */
export function age(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m`;
  return whole < 86_400 ? `${Math.floor(whole / 3600)}h` : `${Math.floor(whole / 86_400)}d`;
}

export function took(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 100 ? `${seconds.toFixed(1)} s` : age(seconds);
}

export function clock(seconds) {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? "" : `${time.toTimeString().slice(0, 8)}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

const notices = () => document.getElementById("notices");

/** Tell what has happened, for a few seconds. */
export function notice(text, kind = "") {
  const made = el("div", { class: `notice ${kind}` }, words(text.slice(0, 400)));
  const all = notices();
  all.append(made);
  while (all.childElementCount > 4) all.firstElementChild.remove();
  setTimeout(() => made.remove(), 6_000);
}
