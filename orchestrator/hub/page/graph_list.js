// The same graph as a list of buttons, for screen readers and for the keyboard. The replicas of an agent are in it while
// the agent, or one of them, is selected: five hundred buttons at once help nobody.

import { inWords, oneLine } from "./graph_model.js";

const HIDDEN = { position: "absolute", width: "1px", height: "1px", overflow: "hidden", clipPath: "inset(50%)", whiteSpace: "nowrap" };

export class GraphList {
  constructor({ onSelect, onFocus }) {
    this.element = document.createElement("ul");
    this.element.className = "graph-list";
    this.element.setAttribute("aria-label", "Agents, teams, lobbies and users");
    Object.assign(this.element.style, HIDDEN, { margin: "0", padding: "0", top: "0", left: "0" });
    this.items = new Map();
    this.replicas = new Map();
    this.onSelect = onSelect;
    this.onFocus = onFocus;
  }

  /** Follow the nodes, in their order; what stays keeps its button, and with it the focus. */
  update(nodes, selected) {
    for (const [key, item] of this.items) {
      if (nodes.has(key)) continue;
      item.li.remove();
      this.items.delete(key);
    }
    let place = 0;
    for (const node of nodes.values()) {
      if (!this.items.has(node.key)) this.items.set(node.key, this.item(node.kind, node.name, node.key));
      const item = this.items.get(node.key);
      if (this.element.children[place] !== item.li) this.element.insertBefore(item.li, this.element.children[place] ?? null);
      place += 1;
      say(item.button, inWords(node), selected?.key === node.key && !selected.peer);
    }
    this.updateReplicas(nodes.get(selected?.key), selected);
  }

  updateReplicas(node, selected) {
    const dots = new Map((node?.dots ?? []).map((dot) => [dot.peer, dot]));
    const host = node && this.items.get(node.key).li;
    if (!this.inner || this.inner.parentNode !== host) {
      this.inner?.remove();
      this.replicas.clear();
      this.inner = node?.dots ? host.appendChild(document.createElement("ul")) : null;
    }
    if (!this.inner) return;
    for (const [peer, item] of this.replicas) {
      if (dots.has(peer)) continue;
      item.li.remove();
      this.replicas.delete(peer);
    }
    for (const [peer, dot] of dots) {
      if (!this.replicas.has(peer)) this.replicas.set(peer, this.item("replica", peer, node.key, this.inner));
      const load = dot.inflight ? `, ${dot.inflight} in flight` : "";
      say(this.replicas.get(peer).button, `${oneLine(peer)}: ${oneLine(dot.state, 20)}${load}`, selected.peer === peer);
    }
  }

  item(kind, name, key, list = this.element) {
    const li = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", () => this.onSelect(kind, name));
    button.addEventListener("focus", () => this.onFocus(key));
    button.addEventListener("blur", () => this.onFocus(null));
    li.append(button);
    list.append(li);
    return { li, button };
  }
}

function say(button, words, pressed) {
  if (button.textContent !== words) button.textContent = words;
  const state = String(Boolean(pressed));
  if (button.getAttribute("aria-pressed") !== state) button.setAttribute("aria-pressed", state);
}
