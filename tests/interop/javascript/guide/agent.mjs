// An agent that streams to whoever asks. `bare 3` is answered by three chunks without a number or a stream's name, which
// is the oldest form; the chunks of `named 3` carry the stream's name alone, those of `numbered 3` both.

import { connected } from "./connected.mjs";

const client = await connected();

client.on("direct", async ({ from, data }) => {
  if (data.type !== "ask") {
    return;
  }
  const [form, count] = data.prompt.split(" ");
  const chunk = (seq, content, done) =>
    client.send(from, {
      type: "completion-chunk",
      ...(form === "bare" ? {} : { streamId: data.taskId }),
      ...(form === "numbered" ? { seq } : {}),
      content,
      done,
    });
  for (let seq = 0; seq < Number(count); seq += 1) {
    await chunk(seq, `${seq} `, false);
  }
  await chunk(Number(count), "", true);
});

console.log("here");
