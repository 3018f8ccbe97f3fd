import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { Clock } from "../../../services/runtime/clock.ts";
import { systemClock } from "../../../services/runtime/clock.ts";
import { silentLog } from "../../../services/runtime/log.ts";
import { createHttpJudge, http } from "../../../workers/verify/outside/http.ts";
import type { HttpBenchLimits } from "../../../workers/verify/outside/http-bench.ts";
import type { OutsideJudge } from "../../../workers/verify/outside-verifier.ts";
import { parseOptions, type Candidate } from "../../../workers/verify/verifier.ts";
import { describeOutsideVerifier } from "../../conformance/outside-verifier.ts";
import { createVirtualClock } from "../../support/virtual-clock.ts";

interface Sent {
  readonly id: string;
  readonly prompt: string;
  readonly text: string;
  readonly problem: Readonly<Record<string, unknown>>;
}

/** A request as the server saw it. */
interface Seen {
  readonly texts: readonly string[];
  readonly candidates: readonly Sent[];
  readonly headers: IncomingMessage["headers"];
  readonly method: string | undefined;
}

/** A server that does what the first word of a candidate's text says. */
let server: Server;
let url = "";
const seen: Seen[] = [];
const open = new Set<ServerResponse>();
/** What "busy" answers before it judges; shifted. */
let refusals: { readonly status: number; readonly headers: Readonly<Record<string, string>> }[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      const { candidates } = JSON.parse(body) as { candidates: readonly Sent[] };
      const texts = candidates.map(({ text }) => text);
      seen.push({ texts, candidates, headers: request.headers, method: request.method });
      obey(candidates, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // Listening on TCP: the address is an object.
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/verify`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function obey(candidates: readonly Sent[], response: ServerResponse): void {
  const verdicts: object[] = [];
  for (const { id, text } of candidates) {
    const [word = "", ...rest] = text.split(" ");
    const said = rest.join(" ");
    if (word === "hang") {
      open.add(response);
      response.on("close", () => open.delete(response));
      return;
    }
    if (word === "status") return void response.writeHead(Number(rest[0])).end(rest.slice(1).join(" "));
    if (word === "redirect") return void response.writeHead(302, { location: `${url}/other` }).end();
    if (word === "break") return void response.destroy();
    if (word === "raw") return void response.end(said.replaceAll("ID", id));
    if (word === "busy") {
      const refusal = refusals.shift();
      if (refusal !== undefined) return void response.writeHead(refusal.status, refusal.headers).end("busy");
    }
    const verdict = ["incorrect", "undecided"].includes(word) ? word : "correct";
    verdicts.push(verdict === "correct" ? { id, verdict, answer: said } : { id, verdict, reason: said });
  }
  response.end(JSON.stringify({ verdicts: verdicts.toReversed() }));
}

const candidate = (text: string): Candidate => ({
  prompt: "Q",
  text,
  problem: { id: "p-1", prompt: "Q", reference: "24", tests: null, metadata: { level: 3 } },
});
const never = new AbortController().signal;

const judges: OutsideJudge<(typeof http)["options"]>[] = [];
afterEach(async () => {
  await Promise.all(judges.splice(0).map((judge) => judge.close()));
  seen.length = 0;
  refusals = [];
});

function start(
  options: Readonly<Record<string, unknown>> = {},
  parts: {
    readonly clock?: Clock;
    readonly env?: Readonly<Record<string, string>>;
    readonly limits?: Partial<HttpBenchLimits>;
  } = {},
) {
  const { clock = systemClock, env = {}, limits = {} } = parts;
  const judge = createHttpJudge({ clock, env, log: silentLog, concurrency: 2 }, { backoffMs: 1, ...limits });
  judges.push(judge);
  const parsed = parseOptions(http, { kind: "http", url, ...options });
  return {
    judge,
    verify: (text: string, signal = never) => judge.verify(candidate(text), parsed, signal),
  };
}

describe("the http verifier", () => {
  test("posts what it knows of a candidate as JSON", async () => {
    await start().verify("correct 42");
    expect(seen).toMatchObject([{ method: "POST", headers: { "content-type": "application/json" } }]);
    expect(seen[0]?.headers.authorization).toBeUndefined();
    expect(seen[0]?.candidates).toEqual([{ id: "1", ...candidate("correct 42") }]);
  });

  test("sends several candidates in one request while others are under way", async () => {
    const { verify } = start({ concurrency: 1, batch_max: 4 });
    const texts = Array.from({ length: 9 }, (_, n) => `correct ${n}`);
    const verdicts = await Promise.all(texts.map((text) => verify(text)));
    expect(verdicts.map(({ answer }) => answer)).toEqual(texts.map((_, n) => String(n)));
    expect(seen.map((request) => request.texts.length)).toEqual([1, 4, 4]);
  });

  test("sends the key that the machine's owner named for it", async () => {
    const options = { api_key_env: "COPPICE_VERIFIER_KEY" };
    await start(options, { env: { COPPICE_VERIFIER_KEY: "s3cret" } }).verify("correct");
    expect(seen[0]?.headers.authorization).toBe("Bearer s3cret");
    await expect(start(options).verify("correct")).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("COPPICE_VERIFIER_KEY (api_key_env), found none"),
    });
  });

  test.each([
    [{ url: null }, "found none"],
    [{ url: "ftp://gpu1/x" }, 'found "ftp://gpu1/x"'],
    [{ url: "file:///etc/passwd" }, 'found "file:///etc/passwd"'],
    [{ url: "gpu1:8000" }, 'found "gpu1:8000"'],
    [{ url: "http://" }, 'found "http://"'],
    [{ url: "http://me:secret@gpu1" }, "found one with a name or password; use api_key_env"],
    [{ api_key_env: "AWS_SECRET_ACCESS_KEY" }, "api_key_env must begin with COPPICE_VERIFIER_"],
  ])("refuses %j", (options, message) => {
    const parse = () => parseOptions(http, { kind: "http", url, ...options });
    expect(parse).toThrow(message);
    expect(parse).not.toThrow("secret@");
  });
});

describe("a server that refuses", () => {
  test("is asked again after what it asked for, within a limit", async () => {
    const clock = createVirtualClock();
    const { verify } = start({}, { clock });
    refusals = [{ status: 429, headers: { "retry-after": "20" } }];
    const verdict = verify("busy now");
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    // Of the request no timer is left, of the wait one.
    await vi.waitFor(() => expect(clock.pending()).toBe(1));
    clock.advance(19_999);
    expect(seen).toHaveLength(1);
    clock.advance(1);
    expect(await verdict).toMatchObject({ verdict: "correct", answer: "now" });
  });

  test("is left to the lane when it asks for more", async () => {
    refusals = [{ status: 503, headers: { "retry-after": "31" } }];
    await expect(start().verify("busy")).rejects.toMatchObject({ code: "unavailable", isRetryable: true });
    expect(seen).toHaveLength(1);
  });

  test.each([
    [429, "resource_exhausted", true],
    [503, "unavailable", true],
    [504, "deadline_exceeded", true],
    [500, "internal", true],
    [400, "invalid_argument", false],
    [422, "invalid_argument", false],
    [401, "failed_precondition", false],
    [404, "failed_precondition", false],
    [204, "failed_precondition", false],
  ])(
    "with %d is an error, %s, that quotes the beginning of what it said",
    async (status, code, isRetryable) => {
      const { verify } = start({}, { limits: { retriesMax: 1 } });
      await expect(verify(`status ${status} no ${"x".repeat(5_000)}`)).rejects.toMatchObject({
        code,
        isRetryable,
        message: expect.stringMatching(
          status === 204 ? /found 204/ : new RegExp(`found ${status} \\(no x+\\.\\.\\.\\)`),
        ),
      });
    },
  );

  test("by sending elsewhere is not followed", async () => {
    await expect(start().verify("redirect")).rejects.toThrow("expected status 200, found 302");
    expect(seen).toHaveLength(1);
  });

  test("to be there, or breaks off, is unavailable", async () => {
    const { verify } = start({}, { limits: { retriesMax: 2 } });
    await expect(verify("break")).rejects.toMatchObject({ code: "unavailable" });
    expect(seen).toHaveLength(3);
    const closed = start({ url: "http://127.0.0.1:1/" });
    await expect(closed.verify("x")).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("ECONNREFUSED"),
    });
  });
});

describe("a server that answers rubbish", () => {
  test.each([
    ["<html>", 'expected an object such as {"verdicts": [{"id": "1", "verdict": "correct"}]}, found <html>'],
    ["", "found nothing"],
    ['{"verdict":"correct"}', "expected an object such as"],
    ['{"verdicts":{}}', "expected an object such as"],
    ["[]", "expected an object such as"],
    ['{"verdicts":[]}', "expected a verdict for each of 1 candidates"],
    ['{"verdicts":[{"id":"x","verdict":"correct"}]}', "expected a verdict for each of 1 candidates"],
    ['{"verdicts":[7]}', "expected a JSON object with id and verdict, found 7"],
    [
      '{"verdicts":[{"id":"ID","score":NaN}]}',
      'expected score to be a finite number, found "NaN" for candidate',
    ],
    ['{"verdicts":[{"id":"ID","verdict":"good"}]}', "expected verdict to be one of"],
  ])("%s is data loss that names the address", async (body, message) => {
    await expect(start().verify(`raw ${body}`)).rejects.toMatchObject({
      code: "data_loss",
      isRetryable: true,
      message: expect.stringMatching(/from http:\/\/127\.0\.0\.1:\d+\/verify/),
    });
    await expect(start().verify(`raw ${body}`)).rejects.toThrow(message);
  });

  test("in an answer that is too long is read no further", async () => {
    const { verify } = start({}, { limits: { answerBytesMax: 1_000 } });
    await expect(verify(`raw ${"x".repeat(100_000)}`)).rejects.toThrow(
      "expected an answer of at most 1000 bytes",
    );
  });

  test("twice for one candidate: the first verdict counts", async () => {
    const body = '{"verdicts":[{"id":"ID","correct":true},{"id":"ID","correct":false}]}';
    expect(await start().verify(`raw ${body}`)).toMatchObject({ verdict: "correct" });
  });
});

describe("candidates of one request", () => {
  test.each(["status 500 no", "status 400 no", "raw rubbish"])(
    "are sent again alone when one of them made it fail by %j",
    async (bad) => {
      const { verify } = start({ concurrency: 1, batch_max: 8 }, { limits: { retriesMax: 0 } });
      const texts = ["correct 0", "correct 1", bad, "correct 3"];
      const outcomes = await Promise.allSettled(texts.map((text) => verify(text)));
      expect(outcomes.map(({ status }) => status)).toEqual([
        "fulfilled",
        "fulfilled",
        "rejected",
        "fulfilled",
      ]);
      expect(seen.map((request) => request.texts.length)).toEqual([1, 3, 1, 1, 1]);
    },
  );

  test("are sent again alone when their time is over, and who hangs alone is undecided", async () => {
    const clock = createVirtualClock();
    const { verify } = start({ concurrency: 1, batch_max: 8, timeout_ms: 100 }, { clock });
    const first = verify("correct 0");
    const both = Promise.all([verify("hang"), verify("correct 2")]);
    await first;
    await vi.waitFor(() => expect(seen).toHaveLength(2));
    clock.advance(199);
    expect(seen).toHaveLength(2);
    clock.advance(1);
    await vi.waitFor(() => expect(seen).toHaveLength(3));
    clock.advance(100);
    expect(await both).toMatchObject([
      { verdict: "undecided", reason: "took longer than 100 ms" },
      { verdict: "correct", answer: "2" },
    ]);
  });

  test("are not parted when nobody was there to be asked", async () => {
    const { verify } = start({ concurrency: 1, batch_max: 8 }, { limits: { retriesMax: 0 } });
    const outcomes = await Promise.allSettled([verify("correct"), verify("break"), verify("correct")]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    // The two go together, once or, where their connection was one that had been kept, once more on a new one; never alone.
    const [first, ...others] = seen.map(({ texts }) => texts.length);
    expect(first).toBe(1);
    expect(new Set(others)).toEqual(new Set([2]));
  });

  test("one more than may wait is refused", async () => {
    const { verify } = start({ concurrency: 1 }, { limits: { waitingMax: 1 } });
    const withdrawn = new AbortController();
    const held = Promise.allSettled([verify("hang", withdrawn.signal), verify("x", withdrawn.signal)]);
    await expect(verify("x")).rejects.toMatchObject({ code: "resource_exhausted" });
    withdrawn.abort(new Error("enough"));
    await held;
  });
});

describe("the conformance of the http verifier", () => {
  // The suite takes its options as they stand when the file is read: the server's address is known only later.
  const late = {
    get url(): string {
      return url;
    },
  };
  describeOutsideVerifier(http, {
    correct: [{ text: "correct 42", options: late, answer: "42" }],
    incorrect: [{ text: "incorrect off by one", options: late, reason: "off by one" }],
    undecided: [{ text: "undecided no reference", options: late, reason: "no reference" }],
    problem: { options: late },
    endless: { text: "hang", options: late },
    underWay: () => open.size,
  });
});
