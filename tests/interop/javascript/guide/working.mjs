// What stands for work in these programs: upper case, a failure, or waiting until somebody writes into a named pipe.

import { readFile, rename } from "node:fs/promises";

export async function work(prompt) {
  const [verb, ...rest] = prompt.split(" ");
  if (verb === "fail") {
    throw new Error(`cannot do ${rest.join(" ")}`);
  }
  if (verb !== "hold") {
    return prompt.toUpperCase();
  }
  const taken = `${rest[0]}.taken`;
  try {
    await rename(rest[0], taken);
  } catch {
    return "at once"; // somebody else was first, and holds it
  }
  console.log(`holding ${process.pid}`);
  await readFile(taken);
  return "held";
}
