/** What went wrong with a program, in words that a person, or the model that wrote it, can do something about. */
import { constants } from "node:os";
import type { Language, ProgramLimits, ProgramOutcome } from "./program.ts";

/** Longest end of standard error that is told, in UTF-16 units. */
const ERROR_CHARS_MAX = 1_500;
/** Statuses above are 128 and the number of the signal that ended it. */
const SIGNALLED = 128;

/** Null for a program that ended by itself with status 0. */
export function faultOf(
  { end, stderr }: ProgramOutcome,
  { language, limits }: { readonly language: Language; readonly limits: ProgramLimits },
): string | null {
  if (end.kind === "killed") {
    switch (end.limit) {
      case "wall":
        return `the program ran longer than ${limits.wallMs} ms`;
      case "memory":
        return `the program used more than ${limits.memoryMib} MiB of memory`;
      case "output":
        return `the program wrote more than ${limits.outputBytesMax} bytes of output`;
    }
  }
  if (end.status === 0) return null;
  if (stderr.includes("JavaScript heap out of memory")) {
    return `the program used more than ${limits.memoryMib} MiB of memory`;
  }
  const told = errorEnd(stderr, language);
  const how = end.status > SIGNALLED ? signalled(end.status - SIGNALLED) : `exit status ${end.status}`;
  return told === "" ? `the program ended with ${how}` : `${how}: ${told}`;
}

function signalled(number: number): string {
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  if (name === "SIGXCPU") return "SIGXCPU: it used more processor time than it may";
  if (name === "SIGXFSZ") return "SIGXFSZ: it wrote a larger file than it may";
  return name ?? `exit status ${SIGNALLED + number}`;
}

/** Lines of Node's own that tell nothing of the program. */
const NODE_LINE = /^\s*at .*(?:node:internal|node:fs|<anonymous>\))|^Node\.js v\d/;

function errorEnd(stderr: string, language: Language): string {
  const lines = stderr.trimEnd().split("\n");
  const told = language === "javascript" ? lines.filter((line) => !NODE_LINE.test(line)) : lines;
  const text = told.join("\n").trim();
  if (text.length <= ERROR_CHARS_MAX) return text;
  const cut = text.slice(-ERROR_CHARS_MAX);
  return `...${cut.slice(cut.indexOf("\n") + 1).toWellFormed()}`;
}
