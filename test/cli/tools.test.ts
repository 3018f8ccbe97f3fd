/** Strategies that use tools, through the command: records stand in for the model, the tools are the real ones. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { codet } from "../../services/search/strategies/codet.ts";
import { react } from "../../services/search/strategies/react.ts";
import { NO_SANDBOX } from "../support/sandbox.ts";
import { folder, run } from "./command.ts";

const places: { remove: () => void }[] = [];
afterAll(() => {
  for (const place of places) place.remove();
});

interface Recorded {
  readonly prompt: string;
  readonly sample?: number;
  readonly text: string;
}

/** Runs one problem under one strategy over these records. @returns Its row of results.jsonl. */
async function solve(
  problem: Readonly<Record<string, unknown>>,
  arm: string,
  records: readonly Recorded[],
): Promise<Readonly<Record<string, unknown>>> {
  const sweep = `name: tools
problems: problems.jsonl
model: recorded
hosts: [{ engine: replay, records: records.jsonl }]
strategies: [{ ${arm} }]
verifier: { kind: exact, extract: last-line }
sampling: { max_tokens: 512 }
`;
  const place = folder({
    "sweep.yaml": sweep,
    "problems.jsonl": `${JSON.stringify(problem)}\n`,
    "records.jsonl": records
      .map((record) => `${JSON.stringify({ ...record, finish_reason: "stop", completion_tokens: 9 })}\n`)
      .join(""),
  });
  places.push(place);
  const { status, said } = await run(place.path, "run", "sweep.yaml");
  expect(said).toBe("");
  expect(status).toBe(0);
  const text = await readFile(join(place.path, "runs/tools/results.jsonl"), "utf8");
  return JSON.parse(text) as Readonly<Record<string, unknown>>;
}

/** The default of a strategy's template, with what this problem puts into it. */
function filled(template: string, values: Readonly<Record<string, string>>): string {
  return Object.entries(values).reduce(
    (text, [name, value]) => text.replaceAll(`{${name}}`, value),
    template,
  );
}

describe("react", () => {
  test("observes what its calculator makes of an action, and answers by it", async () => {
    const prompt = "What is 12 * 17?";
    const { instructions, action, observation, final } = react.parameters;
    const begun = filled(instructions.default, {
      prompt,
      tools: "calculator[an expression]: its value",
      action: action.default,
      observation: observation.default,
      final: final.default,
    });
    const first = `I should compute it.\nAction: calculator[12 * 17]\n${observation.default}`;
    const row = await solve({ id: "p", prompt, reference: "204" }, "strategy: react, max_turns: 3", [
      { prompt: begun, text: first },
      { prompt: `${begun}${first} 204\n`, text: "It is known.\nFinal Answer: 204" },
    ]);
    expect(row).toMatchObject({ verdict: "correct", answer: "204", rollouts: 2 });
  });
});

describe.skipIf(NO_SANDBOX !== null)(`programs in the sandbox ${NO_SANDBOX ?? ""}`.trim(), () => {
  const prompt = "Write f(x), which doubles x.";
  const programs = [
    "def f(x):\n    return x * 2",
    "def f(x):\n    return x + x",
    "def f(x):\n    return x ** 2",
  ];
  const samples = programs.map((text, sample) => ({ prompt, sample, text }));

  test("codet keeps a program of those that agree on the most tests", async () => {
    const question = filled(codet.parameters.template.default, { prompt });
    const row = await solve(
      { id: "p", prompt, reference: "return x * 2" },
      "strategy: codet, n: 3, test_samples: 1",
      [
        ...samples,
        { prompt: question, text: " f(3) == 6\nassert f(0) == 0\nassert f(2) == 4\nassert f(1) == 3" },
      ],
    );
    // Two programs pass the three tests that are right, one passes two: sqrt(2) * 3 against sqrt(1) * 2.
    expect(row).toMatchObject({
      verdict: "correct",
      selection: "dual-execution",
      candidate: expect.any(String),
    });
    expect(row["score"]).toBeCloseTo(3 * Math.SQRT2, 9);
  });

  test("mbr by execution keeps the program that most others agree with on the problem's inputs", async () => {
    const problem = {
      id: "p",
      prompt,
      reference: "return x * 2",
      metadata: { inputs: ["f(3)", "f(5)", "f(2)"] },
    };
    const row = await solve(
      problem,
      "strategy: mbr, n: 3, utility: execution, inputs_as: expressions",
      samples,
    );
    expect(row).toMatchObject({ verdict: "correct", selection: "mbr" });
  });

  test("a program that would leave its sandbox cannot, and agrees with nobody", async () => {
    const hostile = "def f(x):\n    return open('/etc/passwd').read()";
    const problem = { id: "p", prompt, reference: "return x * 2", metadata: { inputs: ["f(3)", "f(5)"] } };
    const row = await solve(problem, "strategy: mbr, n: 3, utility: execution, inputs_as: expressions", [
      { prompt, sample: 0, text: hostile },
      ...[1, 2].map((sample) => ({ prompt, sample, text: "def f(x):\n    return x * 2" })),
    ]);
    expect(row).toMatchObject({ verdict: "correct", answer: "return x * 2" });
  });
});
