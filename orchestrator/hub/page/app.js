// The dashboard: who signs in, the connection, what is known, and the views of it.

import { Asking } from "./asking.js";
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { line, notice, setWords, soon } from "./dom.js";
import { FigureLines } from "./figures.js";
import { Graph } from "./graph.js";
import { Log } from "./log.js";
import { Model, texts } from "./model.js";
import { Presence } from "./presence.js";
import { Replay } from "./replay.js";
import { Runs } from "./runs.js";
import { Session } from "./session.js";
import { Tasks } from "./tasks.js";
import { setSkew } from "./time.js";
import { Views, keys, themes } from "./views.js";

const at = (id) => document.getElementById(id);
const session = new Session();
const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1`;
let started = null;

/** Everything of one identity: from signing in until signing out. */
class Dashboard {
  constructor() {
    this.connection = new Connection(url, () => session.token());
    this.model = new Model();
    this.asking = new Asking(this.connection);
    this.runs = new Runs(this.connection, this.model, (news) => this.#cameAndWent(news));
    const ask = (run, what, given) => this.runs.request(run, what, given);
    this.graph = new Graph(at("graph"), { onSelect: (kind, name) => this.#selected(kind, name) });
    this.lines = new FigureLines(at("lines"), this.model);
    this.chat = new Chat(at("chat"), this.model, this.asking);
    this.presence = new Presence(at("agents"), this.model, (agent) => this.#talk(agent));
    this.tasks = new Tasks(at("tasks"), this.model, ask);
    this.log = new Log(at("log"));
    this.replay = new Replay(at("replay"), this.model, ask);
    this.views = new Views(at("board"), () => this.#seen());
    this.#wire();
  }

  #wire() {
    const { connection, model } = this;
    connection.on("state", (told) => this.#state(told));
    connection.on("welcome", (told) => this.#welcomed(told));
    connection.on("expired", () => session.expire());
    connection.on("expired", () => this.log.say("warning", "the token has expired"));
    connection.on("ended", (told) => this.#ended(told));
    model.on("log", (told) => this.log.told(told));
    model.on("flows", (flows) => this.graph.flows(flows));
    const outlines = () => { this.graph.outlines(model.outlines()); this.#named(); };
    const replicas = () => this.graph.replicas(this.#replicas());
    model.on("outline", () => { soon(outlines); this.#seen(); });
    model.on("agents", () => { if (model.runs.size === 0) soon(outlines); });
    for (const kind of ["replicas", "presence"]) model.on(kind, () => soon(replicas));
    addEventListener("resize", () => this.#seen());
    soon(outlines);
  }

  /** What the run tells of its replicas; without a run, what presence does. */
  #replicas() {
    const { model } = this;
    if (model.runs.size > 0) return model.replicas;
    return new Map([...model.present.values()].filter((each) => each.metadata?.kind === "agent")
      .map((each) => [each.peerId, { peer: each.peerId, agent: String(each.metadata.agent), state: "ready", since: each.since }]));
  }

  #state({ state, detail }) {
    const pill = at("connection");
    const told = { connecting: "connecting…", connected: "live", reconnecting: `reconnecting: ${detail}`, closed: "signed out" };
    pill.dataset.state = at("board").dataset.state = state;
    setWords(pill, told[state] ?? state);
    const news = state === "reconnecting" && detail !== this.told;  // an hour of attempts is one line
    if (state === "connected" || news) this.told = detail;
    if (news) this.log.say("warning", `connection: ${detail}`);
  }

  #welcomed({ welcome, resumed }) {
    this.refused = false;
    setSkew(Date.now() / 1000 - welcome.serverTime);
    session.schedule(welcome, (token) => this.connection.renew(token));
    setWords(at("who"), line(welcome.peerId, 128));
    if (resumed) {
      this.log.say("debug", "the connection is continued under a fresh token");
      return;
    }
    this.model.welcomed(welcome.metadata);
    this.runs.begin(texts(session.claims.grants?.observe));
    this.log.say("info", `connected as ${welcome.peerId}`);
  }

  async #ended({ sentence, code }) {
    this.log.say("error", sentence);
    const once = code === 4001 && !this.refused;
    this.refused = true;  // a hub that takes no token that it gives is not asked for one after the other
    const why = once ? await session.again() : sentence;
    if (why) signedOut(why);
    else this.connection.open();
  }

  #cameAndWent({ channel, joined, left }) {
    const said = (peer, event, fields) => this.log.say("info", event, { source: peer.peerId, agent: typeof peer.metadata?.agent === "string" ? peer.metadata.agent : "", fields });
    for (const each of joined) said(each, "joined", { channel });
    for (const each of left) said(each, "left", each.reason ? { channel, reason: each.reason } : { channel });
  }

  #selected(kind, name) {
    if (kind === "agent") this.#talk(name);
    else if (kind === "replica") this.presence.reveal(name);
  }

  #talk(agent) {
    if (!this.model.mayAsk(agent)) notice(`Your token does not let you ask “${line(agent, 60)}”.`);
    else {
      this.chat.choose(agent);
      if (!this.views.visible("chat")) this.views.show("chat");
      this.graph.select("agent", agent);
    }
  }

  #named() {
    const outlines = [...this.model.runs.values()].map((run) => run.outline).filter(Boolean);
    const names = [...new Set(outlines.map((each) => each.name))].join(", ");
    setWords(at("run-name"), line(names || "orchestrator", 120));
    setWords(at("run-where"), line([...new Set(outlines.map((each) => each.node))].filter(Boolean).join(", "), 120));
    document.title = `${line(names || "orchestrator", 80)} · orchestrator`;
  }

  #seen() {
    this.tasks.seen(this.views.visible("tasks"));
    soon(this.log.draw);
  }

  close() {
    return this.tasks.close() || this.log.close();
  }
}

function begin() {
  at("sign-in").hidden = true;
  for (const id of ["board", "bottom-tabs", "sign-out"]) at(id).hidden = false;
  started ??= new Dashboard();
  started.connection.open();
}

function signedOut(why) {
  for (const id of ["board", "bottom-tabs", "sign-out", "replay"]) at(id).hidden = true;
  at("sign-in").hidden = false;
  setWords(at("sign-in-why"), why);
  setWords(at("who"), "");
  at("token").focus();
}

at("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const why = session.paste(at("token").value);
  setWords(at("sign-in-why"), why);
  if (why) return;
  at("token").value = "";
  if (started) location.reload();  // nothing of another identity stays
  else begin();
});
at("token").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); at("sign-in-form").requestSubmit(); } });
at("sign-out").addEventListener("click", () => {
  started?.asking.cancelAll();
  started?.connection.close();
  session.leave();
  location.reload();
});
keys(() => started?.close() ?? false);
themes(at("theme"), () => started?.graph.theme());

const why = await session.begin();
if (why) signedOut(why);
else begin();
