import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { NO_SANDBOX } from "../support/sandbox.ts";
import { folder, run } from "./command.ts";

const SWEEP = `name: programs
problems: problems.jsonl
model: recorded
hosts: [{ engine: replay, records: records.jsonl }]
strategies: [{ strategy: best-of-n, n: 2 }]
verifier: { kind: unit-tests }
`;
const PROBLEM = { id: "a", prompt: "def add(a, b):\n", tests: "assert add(1, 2) == 3" };
const RECORDS = ["    return a - b", "    return a + b"].map((text, sample) => ({
  problem: "a",
  sample,
  text,
}));

function lines(rows: readonly unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
}

describe("a sweep whose candidates are programs", () => {
  const place = folder({
    "sweep.yaml": SWEEP,
    "problems.jsonl": lines([PROBLEM]),
    "records.jsonl": lines(RECORDS),
  });
  afterAll(() => place.remove());
  afterEach(() => vi.unstubAllEnvs());

  test("is refused where there is no sandbox, with the reason, and never runs a program outside of one", async () => {
    vi.stubEnv("PATH", "/nowhere");
    const { status, said } = await run(place.path, "run", "sweep.yaml");
    expect(status).toBe(1);
    expect(said).toContain("the verifier unit-tests is not offered here: bubblewrap is not installed");
    const doctor = await run(place.path, "doctor");
    expect(doctor.out).toMatch(/absent +sandbox \(optional\): bubblewrap is not installed/);
  });

  test.skipIf(NO_SANDBOX !== null)(`is judged in one ${NO_SANDBOX ?? ""}`.trim(), async () => {
    const { status, out } = await run(place.path, "run", "sweep.yaml");
    expect(status).toBe(0);
    expect(out).toMatch(/best-of-n +1\/1 +100\.0% +0\.5000/);
  });
});
