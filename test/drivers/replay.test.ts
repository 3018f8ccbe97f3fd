import { existsSync } from "node:fs";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Driver, SampleRequest } from "../../workers/rollout/driver.ts";
import { createReplayDriver } from "../../workers/rollout/drivers/replay.ts";
import { driverConformance } from "../conformance/driver.ts";

const never = new AbortController().signal;
const sampling = { temperature: 0.8, topP: 0.95, topK: 0, minP: 0, maxTokens: 64, stop: [] };
const PUBLISHED = "../shared/data/game24/gpt4-cot-100.records.jsonl";

let directory = "";
let files = 0;
const opened: Driver[] = [];
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "coppice-replay-"));
});
afterEach(async () => {
  for (const driver of opened.splice(0)) await driver.close();
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function fileOf(rows: readonly (Readonly<Record<string, unknown>> | string)[]): Promise<string> {
  files += 1;
  const path = join(directory, `records-${files}.jsonl`);
  await writeFile(
    path,
    rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""),
  );
  return path;
}

async function open(rows: readonly (Readonly<Record<string, unknown>> | string)[]): Promise<Driver> {
  const driver = createReplayDriver({ records: [await fileOf(rows)], concurrency: 16 });
  opened.push(driver);
  return driver;
}

function ask(over: Partial<SampleRequest> = {}): SampleRequest {
  return { pieces: [{ text: "4 5 6 10" }], problem: "p", sample: 0, seed: 1, sampling, ...over };
}

driverConformance("replay", {
  async open() {
    const samples = ["a b", "c d", "e f\n", "g"].map((text, sample) => ({
      problem: "p",
      sample,
      text,
      completion_tokens: 3,
    }));
    const long = { problem: "long", sample: 0, text: "x y z", finish_reason: "length", completion_tokens: 5 };
    const records = await fileOf([...samples, long]);
    return { driver: createReplayDriver({ records: [records], concurrency: 16 }), close: () => rm(records) };
  },
  request: ask(),
  firstToken: { skip: "a record is whole" },
  sibling: (sample) => ask({ sample }),
  stopping: ask({ sample: 2, sampling: { ...sampling, stop: ["\n"] } }),
  lengthy: ask({ problem: "long" }),
  slow: { skip: "a record is served at once" },
  score: { pieces: [{ text: "?" }], positive: " good", negative: " bad" },
});

describe("recorded log-probabilities", () => {
  const said = [
    { problem: "p", sample: 0, text: "a b\nc", completion_tokens: 3, mean_logprob: -0.5 },
    { problem: "p", sample: 1, text: "d", completion_tokens: 1, mean_logprob: 0 },
  ];

  it("are served where every record has one, and only when they are asked for", async () => {
    const driver = await open(said);
    expect(await driver.probe(never)).toMatchObject({ can: ["logprobs"] });
    const asked = { sampling: { ...sampling, logprobs: true } };
    expect((await driver.sample(ask(asked), never)).result.meanLogprob).toBe(-0.5);
    expect((await driver.sample(ask({ ...asked, sample: 1 }), never)).result.meanLogprob).toBe(0);
    expect((await driver.sample(ask(), never)).result.meanLogprob).toBeNull();
  });

  it("are unknown of a record that a stop string cuts", async () => {
    const driver = await open(said);
    const { result } = await driver.sample(
      ask({ sampling: { ...sampling, logprobs: true, stop: ["\n"] } }),
      never,
    );
    expect(result).toMatchObject({ text: "a b\n", meanLogprob: null });
  });

  it("are refused where a record has none, and where one is no log-probability", async () => {
    const driver = await open([...said, { problem: "p", sample: 2, text: "e" }]);
    expect(await driver.probe(never)).toMatchObject({ can: [] });
    await expect(driver.sample(ask({ sampling: { ...sampling, logprobs: true } }), never)).rejects.toThrow(
      /asks for logprobs/,
    );
    const wrong = await open([{ problem: "p", text: "e", mean_logprob: 0.1 }]);
    await expect(wrong.probe(never)).rejects.toThrow(/"mean_logprob" as a number of at most 0, found 0\.1/);
  });
});

describe("replay driver: which record answers", () => {
  it("answers the k-th sample by record number k, whatever the order in the file", async () => {
    const driver = await open([2, 0, 1].map((sample) => ({ problem: "p", sample, text: `text ${sample}` })));
    for (const sample of [0, 1, 2])
      expect((await driver.sample(ask({ sample }), never)).result.text).toBe(`text ${sample}`);
  });

  it("numbers records without a number by their order in the file", async () => {
    const driver = await open(["a", "b"].map((text) => ({ prompt: "4 5 6 10", text })));
    expect((await driver.sample(ask({ sample: 1 }), never)).result.text).toBe("b");
  });

  it("matches by problem before it matches by the whole prompt", async () => {
    const driver = await open([
      { prompt: "4 5 6 10", text: "by prompt" },
      { problem: "p", text: "by problem" },
    ]);
    expect((await driver.sample(ask(), never)).result.text).toBe("by problem");
    expect((await driver.sample(ask({ problem: "other" }), never)).result.text).toBe("by prompt");
    await expect(
      driver.sample(ask({ problem: "other", pieces: [{ text: "4 5 6 10\n" }] }), never),
    ).rejects.toMatchObject({ code: "not_found" });
  });

  it("never invents: a sample that is not on record is an error that is not retried", async () => {
    const driver = await open([{ problem: "p", text: "a" }]);
    const missing = driver.sample(ask({ sample: 7 }), never);
    await expect(missing).rejects.toMatchObject({ code: "not_found", isRetryable: false });
    await expect(missing).rejects.toThrow(
      /no record: expected sample 7 of problem "p" in .*jsonl, found 1 records of that prompt/,
    );
  });

  it("does not serve a whole answer as the next step of one", async () => {
    const driver = await open([{ problem: "p", prompt: "4 5 6 10", text: "the whole answer" }]);
    await expect(
      driver.sample(ask({ pieces: [{ text: "4 5 6 10 step 1" }], depth: 1, prefix: "ff" }), never),
    ).rejects.toThrow(/at depth 1/);
  });

  it("serves the steps of a run whose rows carry their prefix", async () => {
    const driver = await open([
      { task: "beam/p", problem: "p", sample: 0, parent: null, depth: 0, prefix: "aa", text: "step 1\n" },
      { task: "beam/p", problem: "p", sample: 0, parent: "0/1", depth: 1, prefix: "bb", text: "step 2\n" },
    ]);
    expect((await driver.sample(ask(), never)).result.text).toBe("step 1\n");
    expect((await driver.sample(ask({ depth: 1, prefix: "bb" }), never)).result.text).toBe("step 2\n");
    await expect(driver.sample(ask({ sample: 1 }), never)).rejects.toMatchObject({ code: "not_found" });
  });

  it("tells tasks that share a number apart by seed, and offers all of them to a longer search", async () => {
    const driver = await open([
      { task: "a/p", problem: "p", sample: 0, seed: 11, text: "of a" },
      { task: "b/p", problem: "p", sample: 0, seed: 22, text: "of b" },
    ]);
    expect((await driver.sample(ask({ seed: 22 }), never)).result.text).toBe("of b");
    expect((await driver.sample(ask({ seed: 99 }), never)).result.text).toBe("of a");
    expect((await driver.sample(ask({ sample: 1, seed: 99 }), never)).result.text).toBe("of b");
  });

  it("ends a text at the first stop string, as an engine would, and then does not know its tokens", async () => {
    const driver = await open([{ problem: "p", text: "one\ntwo\n", completion_tokens: 4 }]);
    const { result, usage } = await driver.sample(ask({ sampling: { ...sampling, stop: ["\n"] } }), never);
    expect(result).toMatchObject({ text: "one\n", finishReason: "stop", stopString: "\n" });
    expect(usage.completionTokens).toBeNull();
  });

  it("reads the usage of a run's rows, and leaves what no row says unknown", async () => {
    const driver = await open([
      { problem: "p", text: "a", usage: { completion_tokens: 9 } },
      { problem: "p", text: "b" },
    ]);
    expect((await driver.sample(ask(), never)).usage).toEqual({
      promptTokens: null,
      cachedTokens: null,
      completionTokens: 9,
    });
    expect((await driver.sample(ask({ sample: 1 }), never)).usage.completionTokens).toBeNull();
  });

  it("refuses a record longer than what was reserved for it", async () => {
    const driver = await open([{ problem: "p", text: "a", completion_tokens: 65 }]);
    await expect(driver.sample(ask(), never)).rejects.toThrow(
      /:1: expected a record of at most 64 tokens .*found one of 65/,
    );
  });

  it("serves characters of many bytes and lines longer than one read", async () => {
    const long = "é€𝄞".repeat(300_000);
    const driver = await open([{ problem: "a", text: long }, "", { problem: "p", text: "after" }]);
    expect((await driver.sample(ask({ problem: "a" }), never)).result.text).toBe(long);
    expect((await driver.sample(ask(), never)).result.text).toBe("after");
  });
});

describe("replay driver: files that are wrong", () => {
  const good = { problem: "p", text: "a" };
  const cases = [
    ["no JSON", [good, "{oops"], /records-\d+\.jsonl:2: expected a record as JSON, found \{oops/],
    ["a list", [good, "[]"], /:2: expected a record as a JSON object, found \[\]/],
    ["no text", [{ problem: "p" }], /:1: expected a record with "text" as a string, found none/],
    [
      "neither prompt nor problem",
      [good, "", { text: "a" }],
      /:3: expected a record with "prompt" or "problem", found none/,
    ],
    [
      "a fractional number",
      [{ ...good, sample: 1.5 }],
      /:1: expected a record with "sample" as a whole number from 0, found 1.5/,
    ],
    [
      "another finish_reason",
      [{ ...good, finish_reason: "abort" }],
      /:1: expected a record with "finish_reason" stop or length, found "abort"/,
    ],
    [
      "a number twice",
      [
        { ...good, sample: 0 },
        { ...good, sample: 0 },
      ],
      /:2: problem "p": expected one record with "sample" 0, found a second/,
    ],
    ["nothing", [], /jsonl: expected at least one record, found none/],
  ] as const;
  for (const [what, rows, message] of cases) {
    it(`says where: ${what}`, async () => {
      const driver = await open(rows);
      const probe = driver.probe(never);
      await expect(probe).rejects.toMatchObject({ code: "invalid_argument", isRetryable: false });
      await expect(probe).rejects.toThrow(message);
    });
  }

  it("says which file is missing", async () => {
    const driver = createReplayDriver({ records: [join(directory, "none.jsonl")], concurrency: 1 });
    await expect(driver.probe(never)).rejects.toThrow(
      /none\.jsonl: expected a records file, cannot read it: ENOENT/,
    );
  });

  it("says so when the file was changed under it", async () => {
    const path = await fileOf([{ problem: "p", text: "a" }]);
    const driver = createReplayDriver({ records: [path], concurrency: 1 });
    opened.push(driver);
    await driver.probe(never);
    await truncate(path, 3);
    await expect(driver.sample(ask(), never)).rejects.toThrow(
      /:1: expected the record that was indexed, found the file changed/,
    );
  });
});

describe("replay driver: the published records", () => {
  it.skipIf(!existsSync(PUBLISHED))(
    `serves all 10,000 of ${PUBLISHED} (skipped where it is absent)`,
    async () => {
      const driver = createReplayDriver({ records: [PUBLISHED], concurrency: 256 });
      opened.push(driver);
      await driver.probe(never);
      for (let problem = 900; problem < 1000; problem += 1) {
        const answers = await Promise.all(
          Array.from({ length: 100 }, (_, sample) =>
            driver.sample(
              ask({ problem: `g24-0${problem}`, pieces: [{ text: "any template" }], sample }),
              never,
            ),
          ),
        );
        expect(answers).toHaveLength(100);
      }
      await expect(driver.sample(ask({ problem: "g24-0900", sample: 100 }), never)).rejects.toMatchObject({
        code: "not_found",
      });
    },
  );
});
