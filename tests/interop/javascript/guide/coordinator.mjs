// A coordinator: publishes tasks to inboxes, knows results alone, and hands a task to the next worker when it has waited
// long enough. Every line of a question is a task, or with `twice` before it one whose frame is published three times.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { connected } from "./connected.mjs";

const me = process.env.ORCHESTRATOR_PEER_ID;
const workers = process.env.WORKERS.split(" ");
const patience = Number(process.env.PATIENCE_MS);
const waiting = new Map();
let turn = 0;

const client = await connected();
await client.subscribe("results");

function publish(worker, taskId, prompt) {
  return client.publish(`tasks/${worker}`, { type: "task", taskId, prompt, from: me });
}

// Resolves to the next result, or to nothing after a while. To be called before the task goes out: its result may come
// in one read with the hub's answer to the publish.
async function result(taskId, milliseconds = patience) {
  const heard = new Promise((resolve) => waiting.set(taskId, resolve));
  const answer = await Promise.race([heard, sleep(milliseconds)]);
  waiting.delete(taskId);
  return answer;
}

async function delegate(prompt) {
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const worker = workers[turn++ % workers.length];
    const taskId = randomUUID();
    const [answer] = await Promise.all([result(taskId), publish(worker, taskId, prompt)]);
    if (answer !== undefined) {
      return `${answer.text} by ${answer.by}`;
    }
    console.log(`no result from ${worker}`);
  }
  return `nobody did ${prompt}`;
}

async function twice(prompt) {
  const taskId = randomUUID();
  const again = () => publish(workers[0], taskId, prompt);
  const [first] = await Promise.all([result(taskId, 10_000), again(), again()]);
  const [second] = await Promise.all([result(taskId, 10_000), again()]);
  return `${first?.text} and ${second?.text}`;
}

async function answer(user, { prompt, taskId }) {
  let seq = 0;
  const streamId = taskId ?? randomUUID();
  const chunk = (content, done) =>
    client.send(user, { type: "completion-chunk", streamId, seq: seq++, content, done });
  for (const line of prompt.split("\n")) {
    const said = line.startsWith("twice ") ? await twice(line.slice(6)) : await delegate(line);
    await chunk(`${said}\n`, false);
  }
  await chunk("", true);
}

client.on("direct", async ({ from, data }) => {
  if (data.type === "task-result") {
    const resolve = waiting.get(data.taskId);
    if (resolve === undefined) {
      console.log(`too late: ${data.result.text} from ${from}`);
    } else {
      resolve(data.result);
    }
  } else if (data.type === "ask") {
    await answer(from, data);
  } else {
    console.log(`passed over: ${JSON.stringify({ from, ...data })}`);
  }
});

console.log("here");
