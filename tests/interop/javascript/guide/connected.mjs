// A connection of the stock SDK for a program that runs for days, with what it finds in its environment.

import { readFile } from "node:fs/promises";

import { SignallingClient } from "@metered-ca/realtime";
import { WebSocket } from "ws";

const { ORCHESTRATOR_URL: url, ORCHESTRATOR_TOKEN_FILE: file } = process.env;

export async function connected() {
  const client = new SignallingClient({
    url,
    tokenProvider: async () => (await readFile(file, "utf8")).trim(),
    reconnect: { maxAttempts: Infinity, maxDelayMs: 60_000 },
    webSocketFactory: (address) => new WebSocket(address), // Node 20 has none of its own
  });
  client.on("disconnected", ({ code, willReconnect }) => {
    if (!willReconnect && code !== 1000) {
      console.error(`disconnected for good: ${code}`);
      process.exit(1);
    }
  });
  await client.connect();
  return client;
}
