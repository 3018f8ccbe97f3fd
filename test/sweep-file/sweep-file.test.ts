import { describe, expect, test } from "vitest";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { parseSweepFile } from "../../services/coordinator/sweep-file/sweep-file.ts";
import { sweepJsonSchema } from "../../services/coordinator/sweep-file/sweep-schema.ts";
import { renderResolved, resolveSweep } from "../../services/coordinator/sweep-file/sweep-resolve.ts";
import { CATALOGUE } from "../../services/cli/catalogue.ts";

const GOOD = `name: demo
problems: puzzles.jsonl
model: game24-tiny
strategies:
  - { strategy: best-of-n, n: 4 }
  - { strategy: beam-search, width: 2, id: beam, sampling: { temperature: 0.5, max_tokens: 16 } }
verifier: { kind: game24 }
process_verifier: { kind: process-reward }
budget: { rollouts: 100, wall: 2h }
`;

function parse(text: string, overrides: readonly string[] = []) {
  return parseSweepFile(text, { file: "sweep.yaml", catalogue: CATALOGUE, overrides, cwd: "/here" });
}

function resolve(text: string, overrides: readonly string[] = []) {
  const place = { catalogue: CATALOGUE, file: "/data/sweep.yaml", shippedModelPath: "/app/tiny.gguf" };
  return resolveSweep(parse(text, overrides), place);
}

function complaint(text: string, overrides: readonly string[] = []): string {
  try {
    parse(text, overrides);
  } catch (error) {
    expect(error).toBeInstanceOf(CoppiceError);
    expect(error).toMatchObject({ code: "invalid_argument" });
    return (error as CoppiceError).message;
  }
  throw new Error("expected a complaint");
}

/** GOOD with one line in place of another. */
function edited(from: string, to: string): string {
  expect(GOOD).toContain(from);
  return GOOD.replace(from, to);
}

describe("a sweep file that is right", () => {
  test("gets every default and absolute paths", () => {
    const { sweep, problems } = resolve(GOOD);
    expect(problems).toBe("/data/puzzles.jsonl");
    expect(sweep).toMatchObject({
      name: "demo",
      promptTemplate: "{prompt}",
      sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, maxTokens: 256, stop: [] },
      budget: { rollouts: 100, completionTokens: null, wallMs: 7_200_000 },
      processVerifier: {
        kind: "process-reward",
        prompt: "{prompt}{text}?",
        positive: " good",
        negative: " bad",
      },
      seed: 0,
      deterministic: false,
      hedge: null,
      output: "/data/runs/demo",
    });
    expect(sweep.hosts).toMatchObject([{ engine: "embedded", id: "embedded", model_path: "/app/tiny.gguf" }]);
    expect(sweep.arms[0]).toMatchObject({ id: "best-of-n", parameters: { n: 4 } });
  });

  test("an arm's own sampling stands over the sweep's", () => {
    const { sweep } = resolve(`${GOOD}sampling: { top_p: 0.9, temperature: 0.8, stop: "\\n" }\n`);
    expect(sweep.arms[1]).toMatchObject({
      id: "beam",
      sampling: { temperature: 0.5, topP: 0.9, maxTokens: 16, stop: ["\n"] },
    });
  });

  test("may be JSON", () => {
    const json = JSON.stringify({
      problems: [{ prompt: "1 2" }],
      model: "m",
      strategies: [{ strategy: "best-of-n" }],
      verifier: { kind: "exact" },
    });
    expect(resolve(json).sweep).toMatchObject({ name: "sweep", model: "m", hosts: [] });
  });

  test("names hosts by their address, and numbers those that are equal", () => {
    const hosts = `hosts: [{ engine: vllm, url: "http://gpu1:8000" }, { engine: openai, url: "http://gpu1:8000/v1" }, { engine: replay, records: r.jsonl }]\n`;
    expect(resolve(GOOD + hosts).sweep.hosts).toMatchObject([
      { engine: "vllm", id: "gpu1-8000", api_key_env: null, concurrency: "auto" },
      { engine: "openai", id: "gpu1-8000-2" },
      { engine: "replay", id: "replay", records: "/data/r.jsonl" },
    ]);
  });

  test("a server has a fixed number of rollouts at once, or one that is found", () => {
    const withHost = (concurrency: string) =>
      `${GOOD}hosts: [{ engine: sglang, url: "http://gpu1:8000", concurrency: ${concurrency} }]\n`;
    expect(resolve(withHost("auto")).sweep.hosts).toMatchObject([{ concurrency: "auto" }]);
    expect(resolve(withHost("65536")).sweep.hosts).toMatchObject([{ concurrency: 65_536 }]);
    for (const wrong of ["0", "65537", "many", "1.5"])
      expect(() => resolve(withHost(wrong))).toThrow(/hosts\.0\.concurrency: expected/);
  });

  test("only engines that publish KV events may say where", () => {
    const withHost = (engine: string, address: string) =>
      `${GOOD}hosts: [{ engine: ${engine}, url: "http://gpu1:8000", kv_events: "${address}" }]\n`;
    expect(resolve(withHost("vllm", "tcp://gpu1:5557")).sweep.hosts).toMatchObject([
      { engine: "vllm", kv_events: "tcp://gpu1:5557" },
    ]);
    expect(() => resolve(withHost("vllm", "tcp://*:5557"))).toThrow(/kv_events: expected an address such as/);
    expect(() => resolve(withHost("llama-server", "tcp://gpu1:5557"))).toThrow(/kv_events: unknown key/);
  });

  test("written as resolved.yaml it is read back as the same sweep", () => {
    const hosts = `hosts: [{ engine: embedded }, { engine: sglang, url: "http://gpu1:8000", api_key_env: KEY }]\n`;
    const resolved = resolve(
      `${GOOD}${hosts}seed: 7\ndeterministic: false\nhedge: { factor: 3 }\nprompt_template: "Q: {prompt}\\n\\nA:"\n`,
    );
    const text = renderResolved(resolved.sweep, {
      problems: resolved.problems,
      version: "1.2.3",
      problemsSha256: "abc",
      modules: "by-path",
    });
    const again = resolveSweep(parse(text), {
      catalogue: CATALOGUE,
      file: "/elsewhere/resolved.yaml",
      shippedModelPath: "/other",
    });
    expect(again).toEqual(resolved);
    expect(resolved.sweep.hedge).toEqual({ factor: 3, share: 0.05 });
    expect(parse(text)).toMatchObject({ version: "1.2.3", problems_sha256: "abc" });
  });

  test("budgets and prices become whole units, and are written as they were given", () => {
    const budgets = edited(
      "budget: { rollouts: 100, wall: 2h }",
      `budget: { usd: 12.5, verifier_tokens: 9, wall: 2h, per_task: { rollouts: 8, usd: 0.02 } }
prices: { prompt: 0.15, cached: 0.075, completion: 0.6, gpu_hour: 2.49 }`,
    ).replace(
      "best-of-n, n: 4",
      "best-of-n, n: 4, budget: { total_tokens: 5000, per_task: { rollouts: 4 } }",
    );
    const { sweep, problems } = resolve(budgets);
    expect(sweep.budget).toMatchObject({
      rollouts: null,
      verifierTokens: 9,
      usdMicros: 12_500_000,
      wallMs: 7_200_000,
      perTask: { rollouts: 8, usdMicros: 20_000, totalTokens: null },
    });
    expect(sweep.prices).toEqual({
      prompt: 150_000,
      cached: 75_000,
      completion: 600_000,
      verifier: 0,
      gpuHour: 2_490_000,
    });
    expect(sweep.arms[0]?.budget).toMatchObject({ totalTokens: 5_000, perTask: { rollouts: 4 } });
    expect(sweep.arms[1]?.budget.perTask.rollouts).toBeNull();
    const origin = { problems, version: "1", problemsSha256: "abc", modules: "by-path" } as const;
    expect(resolve(renderResolved(sweep, origin)).sweep).toEqual(sweep);
    expect(resolve(`${GOOD}prices: { prompt: 3 }\n`).sweep.prices).toMatchObject({
      cached: 3_000_000,
    });
  });

  test("named texts are read as they stand, in their order, and written so", () => {
    const nodes = `{ plan: "{prompt} Plan:", answer: "{plan} Answer:" }`;
    const { sweep, problems } = resolve(
      edited("best-of-n, n: 4", `prompt-chain, id: chain, nodes: ${nodes}, answer: answer`),
    );
    expect(Object.entries(sweep.arms[0]?.parameters["nodes"] ?? {})).toEqual([
      ["plan", "{prompt} Plan:"],
      ["answer", "{plan} Answer:"],
    ]);
    const text = renderResolved(sweep, {
      problems,
      version: "1.2.3",
      problemsSha256: "abc",
      modules: "by-path",
    });
    expect(resolve(text).sweep.arms).toEqual(sweep.arms);
  });

  test("the JSON Schema knows every strategy's parameters", () => {
    const schema = JSON.stringify(sweepJsonSchema(CATALOGUE));
    for (const { name, parameters } of CATALOGUE.strategies.values()) {
      for (const word of [name, ...Object.keys(parameters)]) expect(schema).toContain(`"${word}"`);
    }
  });
});

describe("what is wrong is told with its line", () => {
  const cases: readonly (readonly [string, string, string])[] = [
    [
      "an unknown key",
      edited("budget: { rollouts", "budget: { rolouts"),
      'sweep.yaml:9: budget.rolouts: unknown key; did you mean "rollouts"?',
    ],
    [
      "an unknown key at the top",
      `${GOOD}budgte: 1\n`,
      'sweep.yaml:10: budgte: unknown key; did you mean "budget"?',
    ],
    [
      "hedging in a deterministic sweep",
      `${GOOD}deterministic: true\nhedge: {}\n`,
      "sweep.yaml:11: hedge: a deterministic sweep sends nothing twice",
    ],
    [
      "a share of hedges that is none",
      `${GOOD}hedge: { share: 2 }\n`,
      "sweep.yaml:10: hedge.share: expected",
    ],
    [
      "parameters that are wrong together",
      edited("best-of-n, n: 4", 'prompt-chain, nodes: { a: "{b}", b: "{a}" }'),
      "sweep.yaml:5: strategies.0: prompt-chain: nodes.a: waits for itself: {a} needs {b} needs {a}",
    ],
    [
      "a named text whose name no template can refer to",
      edited("best-of-n, n: 4", 'prompt-chain, nodes: { Plan-1: "{prompt}" }'),
      "strategies.0.nodes.Plan-1: expected a name of lower-case letters, digits and underscores, no digit first",
    ],
    [
      "an unknown parameter",
      edited("n: 4", "m: 4"),
      'sweep.yaml:5: strategies.0.m: unknown key; did you mean "n"?',
    ],
    [
      "an unknown strategy",
      edited("best-of-n,", "bestofn,"),
      "sweep.yaml:5: strategies.0.strategy: expected one of best-of-n",
    ],
    [
      "a misspelt strategy's neighbour",
      edited("best-of-n,", "bestofn,"),
      'found "bestofn"; did you mean "best-of-n"?',
    ],
    [
      "no strategy",
      edited("strategy: best-of-n, ", ""),
      "sweep.yaml:5: strategies.0.strategy: missing; expected one of best-of-n",
    ],
    [
      "a parameter out of bounds",
      edited("n: 4", "n: 0"),
      "sweep.yaml:5: strategies.0.n: expected at least 1, found 0",
    ],
    [
      "a text for a number",
      edited("n: 4", 'n: "4"'),
      'sweep.yaml:5: strategies.0.n: expected a number, found the text "4"',
    ],
    [
      "a fraction for a whole number",
      edited("n: 4", "n: 4.5"),
      "sweep.yaml:5: strategies.0.n: expected a whole number, found 4.5",
    ],
    [
      "a budget of zero",
      edited("rollouts: 100", "rollouts: 0"),
      "sweep.yaml:9: budget.rollouts: expected at least 1, found 0",
    ],
    [
      "a wall of zero",
      edited("wall: 2h", "wall: 0s"),
      'sweep.yaml:9: budget.wall: expected more than zero, found "0s"',
    ],
    [
      "a wall of zero milliseconds",
      edited("wall: 2h", "wall: 0"),
      "sweep.yaml:9: budget.wall: expected more than zero, found 0",
    ],
    [
      "a wall that is no duration",
      edited("wall: 2h", "wall: soon"),
      'sweep.yaml:9: budget.wall: expected a duration such as "90s" or "2h", found "soon"',
    ],
    [
      "a budget in dollars where nothing has a price",
      edited("wall: 2h", "usd: 40"),
      'sweep.yaml:9: budget.usd: expected a price above 0 under the key "prices", found none',
    ],
    [
      "a task's dollars where nothing has a price",
      `${edited("best-of-n, n: 4", "best-of-n, budget: { per_task: { usd: 1 } }")}prices: { prompt: 0 }\n`,
      'sweep.yaml:5: strategies.0.budget.per_task.usd: expected a price above 0 under the key "prices", found none',
    ],
    [
      "a fraction of a token",
      edited("wall: 2h", "per_task: { total_tokens: 0.5 }"),
      "sweep.yaml:9: budget.per_task.total_tokens: expected a whole number, found 0.5",
    ],
    [
      "less than a millionth of a dollar",
      `${edited("wall: 2h", "usd: 0")}prices: { completion: 1 }\n`,
      "sweep.yaml:9: budget.usd: expected at least 0.000001, found 0",
    ],
    [
      "a unit that no budget has",
      edited("best-of-n, n: 4", "best-of-n, budget: { tokens: 9 }"),
      "sweep.yaml:5: strategies.0.budget.tokens: unknown key; known: rollouts, completion_tokens, total_tokens,",
    ],
    [
      "a wall for one arm",
      edited("best-of-n, n: 4", "best-of-n, budget: { wall: 1h }"),
      "sweep.yaml:5: strategies.0.budget.wall: unknown key",
    ],
    [
      "a price below zero",
      `${GOOD}prices: { prompt: -1 }\n`,
      "sweep.yaml:10: prices.prompt: expected at least 0, found -1",
    ],
    [
      "a price of a thing that has none",
      `${GOOD}prices: { promt: 1 }\n`,
      'sweep.yaml:10: prices.promt: unknown key; did you mean "prompt"?',
    ],
    [
      "a verifier whose options contradict one another",
      edited("{ kind: game24 }", "{ kind: judge, votes: 3 }"),
      "sweep.yaml:7: verifier: verifier judge: temperature must be above 0 for several votes, found 0",
    ],
    [
      "options of a verifier that do not go together",
      edited("{ kind: game24 }", '{ kind: exact, extract: pattern, pattern: "(" }'),
      "sweep.yaml:7: verifier: ",
    ],
    [
      "an allocator that nobody knows",
      `${GOOD}allocate: halfing\n`,
      'sweep.yaml:10: allocate: expected one of uniform, stop-on-verified, agreement, marginal, halving, compute-optimal; found "halfing"; did you mean "halving"?',
    ],
    [
      "a parameter that an allocator has not",
      `${GOOD}allocate: { kind: agreement, confidense: 0.9 }\n`,
      'sweep.yaml:10: allocate.confidense: unknown key; did you mean "confidence"?',
    ],
    [
      "a parameter of an allocator that is out of range",
      `${GOOD}allocate: { kind: agreement, confidence: 0.4 }\n`,
      "sweep.yaml:10: allocate.confidence: expected at least 0.5, found 0.4",
    ],
    ["a missing key", edited("model: game24-tiny\n", ""), "sweep.yaml:1: model: missing; expected a text"],
    [
      "an engine that nobody knows",
      `${GOOD}hosts: [{ engine: ollama }]\n`,
      'sweep.yaml:10: hosts.0.engine: expected one of embedded, openai, vllm, sglang, llama-server, replay, simulated; found "ollama"',
    ],
    [
      "a host without an address",
      `${GOOD}hosts: [{ engine: vllm }]\n`,
      "sweep.yaml:10: hosts.0.url: missing; expected a text",
    ],
    [
      "an address that is none",
      `${GOOD}hosts: [{ engine: vllm, url: "gpu1:8000" }]\n`,
      'sweep.yaml:10: hosts.0.url: expected an address such as "http://gpu1:8000", found "gpu1:8000"',
    ],
    [
      "no process verifier",
      edited("process_verifier: { kind: process-reward }\n", ""),
      'sweep.yaml:6: strategies.1: beam-search scores partial paths: the sweep needs the key "process_verifier"',
    ],
    [
      "two arms of one name",
      edited("beam-search, width: 2, id: beam", "best-of-n"),
      'sweep.yaml:6: strategies.1: is called "best-of-n" like strategies.0',
    ],
    [
      "a template without a field",
      `${GOOD}prompt_template: "hello"\n`,
      "sweep.yaml:10: prompt_template: has no field such as {prompt}",
    ],
    [
      "a template with an unknown field",
      `${GOOD}prompt_template: "{question}"\n`,
      "sweep.yaml:10: prompt_template: {question} is not a field of a problem",
    ],
    [
      "a sampling key",
      `${GOOD}sampling: { temprature: 1 }\n`,
      'sweep.yaml:10: sampling.temprature: unknown key; did you mean "temperature"?',
    ],
    [
      "an arm's sampling key",
      edited("max_tokens: 16", "max_token: 16"),
      'sweep.yaml:6: strategies.1.sampling.max_token: unknown key; did you mean "max_tokens"?',
    ],
    [
      "an empty list of strategies",
      GOOD.replace(/strategies:\n.*\n.*\n/, "strategies: []\n"),
      "sweep.yaml:4: strategies: expected a list of at least 1",
    ],
    ["broken YAML", edited("width: 2", "width: [2"), "sweep.yaml:6:"],
    ["a key twice", `${GOOD}model: other\n`, "sweep.yaml:10:1: not YAML: Map keys must be unique"],
    ["nothing", "", "sweep.yaml: expected a map of keys"],
    ["a list", "- 1\n", "sweep.yaml: expected a map of keys"],
  ];
  test.each(cases)("%s", (_, text, expected) => {
    expect(complaint(text)).toContain(expected);
  });

  test("every complaint at once, in the order of the lines", () => {
    const text = edited("n: 4", "n: 0")
      .replace("rollouts: 100", "rolouts: 1")
      .replace("kind: game24", "kind: gme24");
    const lines = complaint(text).split("\n");
    expect(lines.map((line) => line.split(":")[1])).toEqual(["5", "7", "9"]);
  });
});

describe("--set", () => {
  test("changes a key, by position and by name", () => {
    const { sweep } = resolve(GOOD, [
      "budget.rollouts=5000",
      "strategies.0.n=8",
      "strategies.beam.width=16",
      "seed=3",
      "sampling.max_tokens=9",
    ]);
    expect(sweep.budget.rollouts).toBe(5000);
    expect(sweep.seed).toBe(3);
    expect(sweep.arms[0]).toMatchObject({ parameters: { n: 8 }, sampling: { maxTokens: 9 } });
    expect(sweep.arms[1]).toMatchObject({ parameters: { width: 16 }, sampling: { maxTokens: 16 } });
  });

  test("a member of a list is found by its strategy or engine too", () => {
    const { sweep } = resolve(`${GOOD}hosts: [{ engine: embedded }]\n`, [
      "strategies.best-of-n.n=8",
      "hosts.embedded.threads=2",
    ]);
    expect(sweep.arms[0]).toMatchObject({ parameters: { n: 8 } });
    expect(sweep.hosts[0]).toMatchObject({ threads: 2 });
  });

  test("a plus adds to the number that is there, or to the time", () => {
    const { sweep } = resolve(GOOD, [
      "budget.rollouts=+50",
      "budget.wall=+30m",
      "strategies.best-of-n.n=+4",
      "budget.rollouts=+5",
    ]);
    expect(sweep.budget).toMatchObject({ rollouts: 155, wallMs: 9_000_000 });
    expect(sweep.arms[0]).toMatchObject({ parameters: { n: 8 } });
  });

  test("a path is relative to the working directory", () => {
    expect(resolve(GOOD, ["output=runs/x"]).sweep.output).toBe("/here/runs/x");
  });

  test("its value is YAML", () => {
    expect(resolve(GOOD, ['sampling.stop=["\\n", x]']).sweep.sampling.stop).toEqual(["\n", "x"]);
  });

  test.each([
    ["budget.rolouts=5", '--set budget.rolouts=5: budget.rolouts: unknown key; did you mean "rollouts"?'],
    ["bugdet.rollouts=5", '--set bugdet.rollouts=5: bugdet: unknown key; did you mean "budget"?'],
    ["budget.rollouts=+x", '--set budget.rollouts=+x: expected a number behind "+", found "x"'],
    [
      "budget.usd=+1",
      '--set budget.usd=+1: expected a number in budget.usd to add to, found none; leave out the "+"',
    ],
    ["budget.rollouts=0", "--set budget.rollouts=0: budget.rollouts: expected at least 1, found 0"],
    ["strategies.7.n=1", '--set strategies.7.n=1: there is no "7"; there are: best-of-n, beam'],
    ["strategies.mcts.n=1", '--set strategies.mcts.n=1: there is no "mcts"; there are: best-of-n, beam'],
    ["seed.x=1", "--set seed.x=1: seed: expected a number, found a map"],
    ["model.x=1", "--set model.x=1: model has no keys"],
    ["seed", "--set seed: expected KEY=VALUE"],
    ["seed=[1", "--set seed=[1: the value is not YAML"],
  ])("%s is refused", (flag, expected) => {
    expect(complaint(GOOD, [flag])).toContain(expected);
  });
});
