import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import type { Clock } from "../../../services/runtime/clock.ts";
import { systemClock } from "../../../services/runtime/clock.ts";
import type { Log, LogFields } from "../../../services/runtime/log.ts";
import type { OutsideJudge } from "../../../workers/verify/outside-verifier.ts";
import { command, createCommandJudge } from "../../../workers/verify/outside/command.ts";
import type { ProgramBenchLimits } from "../../../workers/verify/outside/program-bench.ts";
import { parseOptions, type Candidate } from "../../../workers/verify/verifier.ts";
import { describeOutsideVerifier } from "../../conformance/outside-verifier.ts";
import { createVirtualClock } from "../../support/virtual-clock.ts";

const OBEDIENT = [process.execPath, join(import.meta.dirname, "obedient-program.ts")];
const never = new AbortController().signal;

const candidate = (text: string): Candidate => ({
  prompt: "Q",
  text,
  problem: { id: "p-1", prompt: "Q", reference: "24", tests: null, metadata: {} },
});

interface Bench {
  readonly judge: OutsideJudge<(typeof command)["options"]>;
  readonly verify: (text: string, signal?: AbortSignal) => ReturnType<OutsideJudge["verify"]>;
  /** Resolves with the fields of the next log line of that event, past ones included. */
  readonly logged: (event: string) => Promise<LogFields>;
  readonly lines: readonly (LogFields & { readonly event: string })[];
}

const open: OutsideJudge<(typeof command)["options"]>[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((judge) => judge.close()));
});

function start(
  options: Readonly<Record<string, unknown>> = {},
  parts: {
    readonly clock?: Clock;
    readonly limits?: Partial<ProgramBenchLimits>;
    readonly env?: Readonly<Record<string, string | undefined>>;
  } = {},
): Bench {
  const lines: (LogFields & { readonly event: string })[] = [];
  const add = (fields: LogFields, event: string): void => void lines.push({ ...fields, event });
  const log: Log = { debug: add, info: add, warn: add, error: add, child: () => log };
  const judge = createCommandJudge(
    { clock: parts.clock ?? systemClock, log, env: parts.env ?? process.env, concurrency: 64 },
    { backoffMs: 1, ...parts.limits },
  );
  open.push(judge);
  const parsed = parseOptions(command, { kind: "command", command: OBEDIENT, ...options });
  return {
    judge,
    lines,
    verify: (text, signal = never) => judge.verify(candidate(text), parsed, signal),
    logged: (event) =>
      vi.waitFor(() => {
        const found = lines.find((line) => line.event === event);
        if (found === undefined) throw new Error(`no ${event} was logged`);
        return found;
      }, 30_000),
  };
}

/** Whether a process runs: one that ended and that nobody has waited for does not. */
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !existsSync("/proc/self/stat") || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};
const isGone = (pid: number) => vi.waitFor(() => expect(isAlive(pid)).toBe(false), 30_000);

describe("the command verifier", () => {
  test("asks one program about many candidates at once and takes its answers in any order", async () => {
    const { verify } = start();
    const verdicts = await Promise.all(["hold", "hold", "answer", "answer"].map((text) => verify(text)));
    expect(new Set(verdicts.map(({ answer }) => answer)).size).toBe(1);
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(Array.from({ length: 4 }, () => "correct"));
  });

  test("starts more programs rather than give one a second candidate, as many as it may", async () => {
    const { verify } = start({ processes: 3 });
    const verdicts = await Promise.all(Array.from({ length: 12 }, () => verify("answer")));
    expect(new Set(verdicts.map(({ answer }) => answer)).size).toBe(3);
  });

  test("replaces a program after so many candidates", async () => {
    const { verify } = start({ restart_after: 2 });
    const verdicts = await Promise.all(Array.from({ length: 6 }, () => verify("answer")));
    const pids = [...new Set(verdicts.map(({ answer }) => Number(answer)))];
    expect(pids).toHaveLength(3);
    await Promise.all(pids.slice(0, 2).map(isGone));
  });

  test("passes on its environment, and has Python write its output at once", async () => {
    const script =
      'process.stdin.on("data", (line) => console.log(JSON.stringify({ id: JSON.parse(line).id, ';
    const env = { ...process.env, MINE: "yes", NOT: undefined };
    const { verify } = start(
      {
        command: [
          process.execPath,
          "-e",
          `${script} correct: true, answer: process.env.MINE + process.env.PYTHONUNBUFFERED })))`,
        ],
      },
      { env },
    );
    expect(await verify("x")).toMatchObject({ answer: "yes1" });
  });

  test("keeps programs of other options apart", async () => {
    const { judge, verify } = start();
    const other = parseOptions(command, { kind: "command", command: OBEDIENT, in_flight: 1 });
    const [first, second] = await Promise.all([
      verify("answer"),
      judge.verify(candidate("answer"), other, never),
    ]);
    expect(first.answer).not.toBe(second.answer);
  });

  test.each([
    [[], "found an empty list"],
    [[" ", "x"], "found a program without a name"],
    [["a\0b"], "found a text with a NUL character"],
  ])("refuses the command %j", (list, message) => {
    expect(() => parseOptions(command, { kind: "command", command: list })).toThrow(message);
  });
});

describe("a program that writes what is no verdict", () => {
  test("is undecided about a candidate whose answer is malformed, saying what was expected and found", async () => {
    const { verify } = start();
    expect(await verify('raw {"id":"ID","score":NaN}\\n')).toMatchObject({
      verdict: "undecided",
      reason: 'the verifier\'s answer: expected score to be a finite number, found "NaN"',
    });
  });

  test("may print other lines: they are logged, and its verdicts still count", async () => {
    const { verify, logged } = start();
    const verdict = await verify('raw loading the model\\n\\n{"id":"ID","score":0.5}\\n');
    expect(verdict).toMatchObject({ verdict: "undecided", score: 0.5 });
    expect(await logged("verifier_stray_line")).toMatchObject({
      complaint: 'expected a JSON object with id and verdict, found "loading the model"',
    });
  });

  test("answers once: a second answer and an unknown id change nothing and are logged", async () => {
    const { verify, lines } = start();
    const twice = '{"id":"ID","correct":true}\\n{"id":"ID","correct":false}\\n{"id":"x","correct":true}\\n';
    expect(await verify(`raw ${twice}`)).toMatchObject({ verdict: "correct" });
    await verify("answer");
    const complaints = lines.filter(({ event }) => event === "verifier_stray_line");
    expect(complaints.map(({ complaint }) => complaint)).toEqual([
      'expected the id of a candidate that waits for its verdict, found "1", which was answered already',
      'expected the id of a candidate that waits for its verdict, found "x"',
    ]);
  });

  test("is quoted when the time of its candidate is over", async () => {
    const clock = createVirtualClock();
    const { verify, logged } = start({}, { clock });
    const verdict = verify("raw True\\n");
    await logged("verifier_stray_line");
    clock.advance(35_000);
    expect(await verdict).toMatchObject({
      verdict: "undecided",
      reason:
        'took longer than 5000 ms; the last other line: expected a JSON object with id and verdict, found "True"',
    });
  });

  test("is stopped after many such lines in a row, with an error that quotes the last", async () => {
    const { verify } = start({}, { limits: { strayLinesMax: 20 } });
    await expect(verify(`raw ${"noise\\n".repeat(30)}`)).rejects.toMatchObject({
      code: "data_loss",
      message: expect.stringMatching(/found 20 other lines in a row; the last: .*"noise"/),
    });
    expect(await verify("answer")).toMatchObject({ verdict: "correct" });
  });

  test("writes a line that is too long: it is left out in bounded memory, and the next counts", async () => {
    const { verify, logged } = start({}, { limits: { lineBytesMax: 200 } });
    const long = "x".repeat(300_000);
    expect(await verify(`raw ${long}\\n{"id":"ID","correct":true}\\n`)).toMatchObject({ verdict: "correct" });
    expect((await logged("verifier_stray_line"))["complaint"]).toMatch(
      /^expected a line of at most 200 bytes, found a longer one: "x+\.\.\."$/,
    );
  });
});

describe("a program that dies", () => {
  test("is started anew; the candidate to blame is undecided, with status and standard error, the others are judged", async () => {
    const { verify, lines } = start();
    const verdicts = await Promise.all(
      ["hold", "answer", "answer", "die 3", "answer", "answer"].map((text) => verify(text)),
    );
    expect(verdicts.map(({ verdict }) => verdict)).toEqual([
      "correct",
      "correct",
      "correct",
      "undecided",
      "correct",
      "correct",
    ]);
    expect(verdicts[3]?.reason).toBe(
      'the program ended 3 times while it judged this candidate (exit status 3; its standard error ends: "cannot bear die 3")',
    );
    expect(lines.filter(({ event }) => event === "verifier_program_ended")).toHaveLength(3);
    expect(lines.find(({ event }) => event === "verifier_stderr")).toMatchObject({
      line: "cannot bear die 3",
    });
  });

  test("may answer on its last line without an end", async () => {
    const script =
      'process.stdin.once("data", (line) => process.stdout.write(JSON.stringify({ id: JSON.parse(line).id, correct: true }), () => process.exit(0)))';
    const { verify } = start({ command: [process.execPath, "-e", script], in_flight: 1 });
    expect(await verify("x")).toMatchObject({ verdict: "correct" });
    expect(await verify("x")).toMatchObject({ verdict: "correct" });
  });

  test("and never answered fails what waits with its last words, and does not try for ever", async () => {
    const dying = [process.execPath, "-e", 'console.error("no module named torch"); process.exit(1)'];
    const { verify, lines } = start({ command: dying });
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => verify("x")));
    const failed = outcomes.filter(({ status }) => status === "rejected");
    expect(failed.length).toBeGreaterThanOrEqual(18);
    expect(failed[0]).toMatchObject({
      reason: {
        code: "failed_precondition",
        message: expect.stringMatching(
          /to give a verdict, found that it ended 6 times in a row without one \(exit status 1; its standard error ends: "no module named torch"\)/,
        ),
      },
    });
    const deaths = lines.filter(({ event }) => event === "verifier_program_ended").length;
    expect(deaths).toBe(6);
  });

  test("of a signal is named by it", async () => {
    const dying = [
      process.execPath,
      "-e",
      'process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1e9)',
    ];
    const { verify } = start({ command: dying });
    expect((await verify("x")).reason).toBe(
      "the program ended 3 times while it judged this candidate (signal SIGTERM)",
    );
  });

  test("cannot even be started: the error says why in words and is not tried again", async () => {
    const missing = start({ command: ["/no/such/program"] });
    await expect(missing.verify("x")).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringContaining(
        'expected to start the program "/no/such/program" in ' +
          `${process.cwd()}, found: no such file or directory (ENOENT)`,
      ),
    });
    const forbidden = start({ command: [import.meta.filename] });
    await expect(forbidden.verify("x")).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringContaining("permission denied (EACCES)"),
    });
  });

  test("closed its output: it is of no use and replaced", async () => {
    const { verify } = start({}, { limits: { graceMs: 50 } });
    expect(await verify("close")).toMatchObject({
      verdict: "undecided",
      reason: expect.stringContaining("3 times while it judged this candidate (signal SIGKILL)"),
    });
    expect(await verify("answer")).toMatchObject({ verdict: "correct" });
  });
});

describe("a program that hangs", () => {
  test("is killed when the oldest's time is over: that one is undecided, the others go to a new program", async () => {
    const clock = createVirtualClock();
    const { verify, logged } = start({ timeout_ms: 700 }, { clock });
    const first = await verify("answer");
    const hung = verify("hang");
    const others = [verify("answer"), verify("answer")];
    await logged("verifier_stderr");
    clock.advance(699);
    expect(isAlive(Number(first.answer))).toBe(true);
    clock.advance(1);
    expect(await hung).toMatchObject({
      verdict: "undecided",
      score: null,
      reason: "took longer than 700 ms",
    });
    for (const other of await Promise.all(others)) {
      expect(other.verdict).toBe("correct");
      expect(other.answer).not.toBe(first.answer);
    }
    await isGone(Number(first.answer));
  });

  test("at its first candidate has the time to start besides, and is asked whether it flushes", async () => {
    const clock = createVirtualClock();
    const { verify, logged } = start({ timeout_ms: 100, start_ms: 900 }, { clock });
    const hung = verify("hang");
    await logged("verifier_stderr");
    clock.advance(1_000);
    expect((await hung).reason).toBe(
      "took longer than 100 ms and 900 ms to start; does the program flush its output after each line?",
    );
  });

  test("at a candidate that nobody waits for any more is killed soon, and the others go on", async () => {
    const clock = createVirtualClock();
    const { verify, logged } = start({ timeout_ms: 60_000 }, { clock });
    const withdrawn = new AbortController();
    await verify("answer");
    const hung = expect(verify("hang", withdrawn.signal)).rejects.toThrow("enough");
    const other = verify("answer");
    await logged("verifier_stderr");
    withdrawn.abort(new Error("enough"));
    await hung;
    clock.advance(5_000);
    expect(await other).toMatchObject({ verdict: "correct" });
  });

  test("or never reads gets no more than its input holds, and more memory is not taken", async () => {
    const clock = createVirtualClock();
    const { verify, logged } = start({ command: [...OBEDIENT, "deaf"], in_flight: 1_024 }, { clock });
    const big = "x".repeat(1_000_000);
    const first = verify(big);
    const withdrawn = new AbortController();
    const more = Array.from({ length: 50 }, () => verify(big, withdrawn.signal));
    const outcomes = Promise.allSettled(more);
    await logged("verifier_stderr");
    clock.advance(35_000);
    expect(await first).toMatchObject({ verdict: "undecided" });
    expect(await logged("verifier_overran")).toMatchObject({ others: 0 });
    withdrawn.abort(new Error("enough"));
    expect((await outcomes).every(({ status }) => status === "rejected")).toBe(true);
  });
});

const hanging = mkdtempSync(join(tmpdir(), "coppice-hanging-"));
afterAll(() => rmSync(hanging, { recursive: true, force: true }));

describeOutsideVerifier(command, {
  correct: [{ text: "correct 42", options: { command: OBEDIENT }, answer: "42" }],
  incorrect: [{ text: "incorrect off by one", options: { command: OBEDIENT }, reason: "off by one" }],
  undecided: [
    { text: "undecided no reference", options: { command: OBEDIENT }, reason: "no reference" },
    { text: 'raw {"id":"ID"}\\n', options: { command: OBEDIENT }, reason: "expected verdict" },
  ],
  problem: { options: { command: OBEDIENT } },
  endless: { text: "hang", options: { command: OBEDIENT, processes: 2, start_ms: 0 } },
  underWay: () => readdirSync(hanging).filter((pid) => isAlive(Number(pid))).length,
  env: { ...process.env, HANGING: hanging },
});

describe("the end", () => {
  test("an abort frees the caller at once, waiting or in flight, and harms no other", async () => {
    const { verify } = start({ in_flight: 1 });
    const withdrawn = new AbortController();
    const both = [verify("hold", withdrawn.signal), verify("answer", withdrawn.signal)];
    const outcomes = Promise.allSettled(both);
    withdrawn.abort(new Error("enough"));
    expect(await outcomes).toMatchObject([
      { reason: { message: "enough" } },
      { reason: { message: "enough" } },
    ]);
    await expect(verify("answer", AbortSignal.abort(new Error("never begun")))).rejects.toThrow(
      "never begun",
    );
  });

  test("closing stops a program and what it started, and what runs rejects", async () => {
    const { judge, verify } = start();
    const [pid = 0, child = 0] = ((await verify("fork")).answer ?? "").split(" ").map(Number);
    expect([isAlive(pid), isAlive(child)]).toEqual([true, true]);
    const held = verify("hold");
    const outcome = expect(held).rejects.toMatchObject({ code: "unavailable" });
    await judge.close();
    await outcome;
    await Promise.all([isGone(pid), isGone(child)]);
    await expect(verify("answer")).rejects.toMatchObject({ code: "unavailable" });
    await judge.close();
  });

  test("a program that ignores the end of its input is killed when the judge closes", async () => {
    const clock = createVirtualClock();
    const script =
      'process.stdin.on("data", (line) => console.log(JSON.stringify({ id: JSON.parse(line).id, correct: true, answer: String(process.pid) }))); setInterval(() => {}, 1e9)';
    const { judge, verify } = start({ command: [process.execPath, "-e", script] }, { clock });
    const pid = Number((await verify("x")).answer);
    const closed = judge.close();
    clock.advance(1_000);
    await closed;
    await isGone(pid);
  });

  test("programs that nobody needs are stopped after a while, and started anew when needed", async () => {
    const clock = createVirtualClock();
    const { verify } = start({}, { clock });
    const { answer } = await verify("answer");
    clock.advance(300_000);
    await isGone(Number(answer));
    expect((await verify("answer")).answer).not.toBe(answer);
  });

  test.each(["exit", "stay"])("a worker that dies (%s) leaves no program behind", async (manner) => {
    const worker = spawn(process.execPath, [join(import.meta.dirname, "judging-worker.ts"), manner], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [pid] = (await once(createInterface({ input: worker.stdout }), "line")) as [string];
    if (manner === "stay") {
      expect(isAlive(Number(pid))).toBe(true);
      worker.kill("SIGKILL");
    }
    await isGone(Number(pid));
  });

  test("standard error is logged up to a limit", async () => {
    const script =
      'for (let n = 0; n < 5000; n++) console.error("line " + n); process.stdin.once("data", (line) => console.log(JSON.stringify({ id: JSON.parse(line).id, correct: true })))';
    const { verify, logged, lines } = start(
      { command: [process.execPath, "-e", script] },
      { limits: { errorLinesMax: 7 } },
    );
    await verify("x");
    await logged("verifier_stderr_left_out");
    expect(lines.filter(({ event }) => event === "verifier_stderr")).toHaveLength(7);
  });

  test("one more than may wait is refused", async () => {
    const { verify } = start({ in_flight: 1 }, { limits: { waitingMax: 1 } });
    const withdrawn = new AbortController();
    const held = Promise.allSettled([verify("hold", withdrawn.signal), verify("answer", withdrawn.signal)]);
    await expect(verify("answer")).rejects.toMatchObject({ code: "resource_exhausted" });
    withdrawn.abort(new Error("enough"));
    await held;
  });
});
