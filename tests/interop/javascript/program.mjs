// Peers on the stock JavaScript SDK that do what they are told; `tests/interop/programs.py` describes the lines.

import { createInterface } from "node:readline";

import { MeteredPeer, SignallingClient, SignallingConnectError } from "@metered-ca/realtime";
import { WebSocket } from "ws";

import { FakeConnection } from "./fake_rtc.mjs";

const LONGEST_BRIEF = 100;
const peers = new Map();

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function options({ url, token, api_key: apiKey }) {
  return {
    url,
    ...(apiKey === undefined ? { tokenProvider: async () => token } : { apiKey }),
    // Node 20 has no WebSocket of its own. Without compression what arrives in one read is told in one turn.
    webSocketFactory: (address) => new WebSocket(address, { perMessageDeflate: false }),
  };
}

function teller(peer, brief) {
  const shown = (data) => (!brief || (typeof data === "string" && data.length <= LONGEST_BRIEF) ? data : null);
  return (event, fields) => say({ peer, event, ...fields, ...("data" in fields ? { data: shown(fields.data) } : {}) });
}

async function open(request) {
  const client = new SignallingClient(options(request));
  const tell = teller(request.peer, request.brief);
  client.on("connected", (event) =>
    tell("connected", {
      peer_id: event.peerId,
      resumed: event.isReconnect,
      expires_at: event.expiresAt,
      max_message_size: event.maxMessageSize,
    }),
  );
  client.on("disconnected", (event) => tell("disconnected", { code: event.code, will_reconnect: event.willReconnect }));
  client.on("going-away", (event) => tell("going_away", { retry_after_ms: event.retryAfterMs }));
  client.on("server-error", (event) => tell("server_error", { code: event.code }));
  client.on("message", (event) =>
    tell("message", {
      channel: event.channel,
      from: event.from,
      data: event.data,
      metadata: event.fromMetadata ?? null,
    }),
  );
  client.on("direct", (event) =>
    tell("direct", { from: event.from, data: event.data, metadata: event.fromMetadata ?? null }),
  );
  client.on("presence", (event) =>
    tell("presence", {
      channel: event.channel,
      joined: event.joined.map((entry) => ({ peer_id: entry.peerId, metadata: entry.metadata ?? null })),
      left: event.left.map((entry) => entry.peerId),
    }),
  );
  await client.connect();
  peers.set(request.peer, client);
}

async function join(request) {
  const peer = new MeteredPeer({ ...options(request), rtcPeerConnectionFactory: () => new FakeConnection() });
  const tell = teller(request.peer, request.brief);
  peer.on("state-change", (event) => tell("state", { to: event.to }));
  peer.on("peer-joined", (event) =>
    tell("peer_joined", { peer_id: event.peer.id, metadata: event.peer.metadata ?? null }),
  );
  peer.on("peer-left", (event) => tell("peer_left", { peer_id: event.peer.id }));
  peer.on("error", (event) => tell("fatal", { reason: event.err.name }));
  peer.on("data", (event) => tell("data", { from: event.senderPeerId, kind: event.kind, data: event.data }));
  peers.set(request.peer, peer);
  await peer.join(request.channel);
}

async function carryOut(request) {
  const peer = peers.get(request.peer);
  switch (request.do) {
    case "open":
      return open(request);
    case "join":
      return join(request);
    case "subscribe":
      return peer.subscribe(request.channel, { includeSenderMetadata: request.metadata });
    case "unsubscribe":
      return peer.unsubscribe(request.channel);
    case "publish":
      return peer.publish(request.channel, request.data);
    case "send":
      return peer.send(request.to, request.data);
    case "broadcast":
      return peer.send(request.data);
    case "send_to":
      return peer.sendTo(request.to, request.data);
    case "close":
      peers.delete(request.peer);
      return peer.close();
    default:
      throw new Error(`there is no request ${request.do}`);
  }
}

async function answer(request) {
  try {
    await carryOut(request);
    say({ id: request.id, refused: null });
  } catch (error) {
    say({ id: request.id, refused: error instanceof SignallingConnectError ? error.closeCode : error.name });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  answer(JSON.parse(line));
}
await Promise.allSettled([...peers.values()].map((peer) => peer.close()));
process.exit();
