/** The published run of GPT-4 on the Game of 24, puzzles 900-999: its proposals and values in, its selections out. */
import { describe, expect, it } from "vitest";
import type { Answer, Ask } from "../../services/search/program.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import { totBfs } from "../../services/search/strategies/tot-bfs.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { fillTemplate } from "../../services/search/template.ts";
import { game24 } from "../../workers/verify/verifiers/game24.ts";
import { judgeExample } from "../conformance/verifier.ts";
import { dataLines, NO_DATA } from "../support/data.ts";
import { drive } from "./drive.ts";
import type { Trace } from "./drive.ts";
import { rolloutOf } from "./scripted.ts";

interface TraceStep {
  readonly beam: readonly string[];
  readonly candidates: readonly string[];
  readonly values: readonly number[];
  readonly selected: readonly string[];
}

interface TraceRecord {
  readonly problem: string;
  readonly prompt: string;
  readonly steps: readonly TraceStep[];
  readonly answers: readonly string[];
  readonly graded: readonly (0 | 1)[];
}

const TRACE = "game24/gpt4-tot-bfs.trace.jsonl";
const records = dataLines(TRACE).map((line) => JSON.parse(line) as TraceRecord); // The data's own form.
/**
 * The published run shared its memory of values among puzzles, so some last steps without an answer have one: what they are
 * worth is left to the recorded values, not to the rule.
 */
const DEFAULTS = withDefaults(totBfs.parameters, { answer_mark: "" });

/** The numbers left after a path, as the published code reads them; null behind an answer. */
function stateOf(path: string, puzzle: string): string | null {
  const line = path.trim().split("\n").at(-1) ?? "";
  if (line === "") return puzzle;
  return line.includes("left: ") ? (line.split("left: ").at(-1)?.split(")")[0] ?? null) : null;
}

type Parameters = typeof DEFAULTS;

/** What the model wrote, by the prompt it was asked with, in the order in which it was asked. */
function scriptOf({ prompt: problem, steps }: TraceRecord, templates: Parameters): Map<string, string[]> {
  const script = new Map<string, string[]>();
  const write = (template: string, path: string, replies: readonly string[]): void => {
    const state = stateOf(path, problem);
    const step = path.trim().split("\n").at(-1) ?? "";
    const text = fillTemplate(template, { problem, path, step, state: state ?? step, prompt: problem });
    script.set(text, [...(script.get(text) ?? []), ...replies]);
  };
  const valued = new Set<string>();
  for (const { beam, candidates, values } of steps) {
    let served = 0;
    for (const [position, path] of beam.entries()) {
      const left = candidates.slice(served);
      const other = left.findIndex((candidate) => !candidate.startsWith(path));
      let count = other < 0 ? left.length : other;
      // Of two equal states side by side the trace does not say whose a proposal was: the second has one.
      if (beam[position + 1] === path) count--;
      const lines = left.slice(0, count).map((candidate) => candidate.slice(path.length, -1));
      served += count;
      write(stateOf(path, problem) === "24" ? templates.propose_last : templates.propose, path, [
        lines.join("\n"),
      ]);
    }
    expect(served).toBe(candidates.length);
    for (const [i, path] of candidates.entries()) {
      const state = stateOf(path, problem);
      const key = state ?? path;
      if (valued.has(key) || candidates.indexOf(path) < i) continue;
      valued.add(key);
      write(state === null ? templates.value_last : templates.value, path, repliesWorth(values[i] ?? 0));
    }
  }
  return script;
}

/** Three evaluations whose words sum to this. */
function repliesWorth(value: number): readonly string[] {
  const sure = Math.floor(value / 20);
  const likely = Math.floor(value - 20 * sure);
  const impossible = Math.round((value - 20 * sure - likely) * 1000);
  const words = [
    ...Array.from({ length: sure }, () => "sure"),
    ...Array.from({ length: likely }, () => "likely"),
    ...Array.from({ length: impossible }, () => "impossible"),
  ];
  return ["", "", ""].map((_, i) => `10 + 14 = 24\n${words[i] ?? "no idea"}`);
}

function run(record: TraceRecord, parameters: Parameters = DEFAULTS) {
  const script = scriptOf(record, parameters);
  const search = new Search(() =>
    totBfs.search(rootPrefix(record.prompt), parameters, {
      id: record.problem,
      prompt: record.prompt,
      metadata: {},
    }),
  );
  const answer = (ask: Ask): Answer => {
    const text = textOf(ask.prefix);
    if (ask.kind === "sample") {
      const reply = script.get(text)?.[ask.sample];
      if (reply === undefined) throw new Error(`the trace does not say what comes behind ${text}`);
      return rolloutOf(reply);
    }
    const path = text.slice(record.prompt.length);
    const {
      verdict,
      answer: found,
      score,
      reason,
    } = judgeExample(game24, { prompt: record.prompt, text: path });
    return { kind: "verdict", verdict: { verdict, answer: found, score, reason } };
  };
  const trace = drive(search, { answer });
  return { search, trace };
}

/** Proposals asked behind the whole path, so that what was selected shows in what is asked. */
const SHOWING = { ...DEFAULTS, propose: "{prompt}{path}[next]", propose_last: "{prompt}{path}[answer]" };

/** The paths that proposals were asked for, and how many lines came, in the order of asking. */
function proposalsOf(record: TraceRecord, { asks }: Trace): readonly { path: string; lines: number }[] {
  const script = scriptOf(record, SHOWING);
  return asks.flatMap((ask) => {
    const text = textOf(ask.prefix);
    if (ask.kind !== "sample" || !/\[(?:next|answer)\]$/u.test(text)) return [];
    const path = text.slice(record.prompt.length, text.lastIndexOf("["));
    return [{ path, lines: script.get(text)?.[ask.sample]?.split("\n").length ?? 0 }];
  });
}

const title = `tree of thoughts, breadth first, on the published trace${records.length === 0 ? ` (${NO_DATA})` : ""}`;
describe.skipIf(records.length === 0)(title, () => {
  it("makes all 400 selections, of as many candidates", () => {
    const selections: (readonly string[])[] = [];
    const candidates = [0, 0, 0, 0];
    for (const record of records) {
      const { trace, search } = run(record, SHOWING);
      const proposals = proposalsOf(record, trace);
      const beams = [0, 1, 6, 11].map((from, step) => proposals.slice(from, step === 0 ? 1 : from + 5));
      expect(beams.flat()).toHaveLength(proposals.length);
      for (const [step, beam] of beams.entries()) {
        candidates[step] = beam.reduce((sum, { lines }) => sum + lines, candidates[step] ?? 0);
        if (step > 0) selections.push(beam.map(({ path }) => path));
      }
      selections.push(answersOf(record, search));
    }
    // Equal answers are one candidate.
    const published = records.flatMap(({ steps }) =>
      steps.map(({ selected }, step) => (step < 3 ? selected : [...new Set(selected)])),
    );
    expect(selections).toEqual(published);
    expect(selections).toHaveLength(400);
    expect(candidates).toEqual([947, 3179, 2046, 2240]);
  });

  it("solves 69 puzzles by one of five answers, 62 by the first, with the default templates", () => {
    const solved = { byAny: 0, byFirst: 0, selected: 0 };
    let values = 0;
    for (const record of records) {
      const { search, trace } = run(record);
      expect(answersOf(record, search)).toEqual([...new Set(record.answers)]);
      const isCorrect = new Map(
        search.candidates.map(({ prefix, verdict }) => [
          textOf(prefix).slice(record.prompt.length),
          verdict?.verdict === "correct",
        ]),
      );
      expect(record.answers.map((text) => Number(isCorrect.get(text)))).toEqual(record.graded);
      solved.byAny += Number([...isCorrect.values()].includes(true));
      solved.byFirst += Number(isCorrect.get(record.answers[0] ?? ""));
      solved.selected += Number(search.outcome?.candidate?.verdict?.verdict === "correct");
      const prompts = trace.asks.filter((ask) => ask.kind === "sample").map((ask) => ask.prefix);
      values += (prompts.length - 16) / DEFAULTS.evaluations;
    }
    expect(solved).toEqual({ byAny: 69, byFirst: 62, selected: 69 });
    // Of 8,412 candidates, as equal prompts of a puzzle are valued once.
    expect(values).toBe(7032);
  });

  it("answers with the first state where told to rank by value", () => {
    const solved = records.filter((record) => {
      const { search } = run(record, { ...DEFAULTS, answer: "highest-value" });
      return search.outcome?.candidate?.verdict?.verdict === "correct";
    });
    expect(solved).toHaveLength(62);
  });
});

function answersOf({ prompt }: TraceRecord, { candidates }: Search): readonly string[] {
  return candidates
    .toSorted((a, b) => a.index - b.index)
    .map(({ prefix }) => textOf(prefix).slice(prompt.length));
}
