// Checks that llama.cpp (node-llama-cpp, CPU) agrees with PyTorch: token ids, probabilities, greedy text.
// Usage: node check-engine.mjs MODEL.gguf REFERENCE.json, where `evaluate.py` wrote the reference.
// node-llama-cpp is resolved from the current directory.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const { getLlama } = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const [modelPath, referencePath] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(referencePath, "utf8"));
const tolerance = 0.01;

const llama = await getLlama({ gpu: false, build: "never" });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({ contextSize: 256, sequences: 1, threads: 1 });
const sequence = context.getSequence();
const { bos, shouldPrependBosToken } = model.tokens;
console.log(`train context ${model.trainContextSize}, prepend begin-of-sequence: ${shouldPrependBosToken}`);

let failures = 0;
let worst = 0;
for (const { text, ids, top, greedy } of cases) {
  const tokens = [bos, ...model.tokenize(text)];
  const where = JSON.stringify(text);
  check(isSame(tokens, ids), `ids of ${where}: ${tokens}, expected ${ids}`);
  const back = model.detokenize(tokens.slice(1));
  check(back === text, `round trip of ${where} gave ${JSON.stringify(back)}`);

  await sequence.clearHistory();
  const last = [tokens.at(-1), { generateNext: { probabilities: true } }];
  const output = await sequence.controlledEvaluate([...tokens.slice(0, -1), last]);
  const probabilities = output.at(-1).next.probabilities;
  for (const [id, expected] of top) {
    const difference = Math.abs((probabilities.get(id) ?? 0) - expected);
    worst = Math.max(worst, difference);
    check(difference < tolerance, `P(${id}) after ${where}: off by ${difference}`);
  }

  await sequence.clearHistory();
  const made = [];
  for await (const token of sequence.evaluate(tokens, { temperature: 0 })) {
    made.push(token);
    if (made.length >= greedy.length) break;
  }
  check(isSame(made, greedy), `greedy after ${where}: ${made}, expected ${greedy}`);
}
console.log(`${cases.length} texts, ${failures} failures, largest difference ${worst.toFixed(5)}`);
await llama.dispose();
process.exitCode = failures === 0 ? 0 : 1;

function isSame(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

function check(holds, message) {
  if (holds) return;
  failures += 1;
  console.error(message);
}
