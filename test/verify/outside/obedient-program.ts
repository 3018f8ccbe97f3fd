/**
 * A verifier program that does what each candidate's text says, for the tests of the `command` verifier: "answer",
 * "correct 42", "incorrect why", "undecided why", "raw ..." (with ID for its id, \n written out), "hang", "die 3", "close", "fork", "hold" (answers when the next one comes).
 * With the argument "deaf" it never reads.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { closeSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Line {
  readonly id: string;
  readonly text: string;
}

const [manner] = process.argv.slice(2);
const held: string[] = [];
const say = (text: string): void => void process.stdout.write(text);
const answer = (id: string): void =>
  say(`${JSON.stringify({ id, verdict: "correct", answer: String(process.pid) })}\n`);

function obey({ id, text }: Line): void {
  const [word = "", ...rest] = text.split(" ");
  switch (word) {
    case "correct":
      return say(`${JSON.stringify({ id, verdict: word, answer: rest.join(" ") })}\n`);
    case "incorrect":
    case "undecided":
      return say(`${JSON.stringify({ id, verdict: word, reason: rest.join(" ") })}\n`);
    case "raw":
      return say(rest.join(" ").replaceAll("ID", id).replaceAll("\\n", "\n"));
    case "hang":
      process.stderr.write("hanging\n");
      if (process.env["HANGING"] !== undefined)
        writeFileSync(join(process.env["HANGING"], String(process.pid)), "");
      // Busy, so that not even the end of its input stops it.
      for (;;);
    case "die":
      process.stderr.write(`cannot bear ${text}\n`);
      process.exit(Number(rest[0]));
      break;
    case "close":
      closeSync(1);
      return;
    case "fork": {
      const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e9)"], { stdio: "inherit" });
      return say(`${JSON.stringify({ id, correct: true, answer: `${process.pid} ${child.pid}` })}\n`);
    }
    case "hold":
      held.push(id);
      return;
    default:
      answer(id);
      for (const each of held.splice(0)) answer(each);
  }
}

if (manner === "deaf") {
  process.stderr.write("deaf\n");
  setInterval(() => undefined, 1e9);
} else {
  createInterface({ input: process.stdin }).on("line", (line) => obey(JSON.parse(line) as Line));
}
