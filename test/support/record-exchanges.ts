/**
 * Records a driver's exchanges with a real engine, as the files of test/drivers/exchanges keep them:
 * `node test/support/record-exchanges.ts ENGINE URL SOURCE > test/drivers/exchanges/NAME.json`.
 * It stands between the driver and the engine, and asks what is asked of every engine's recording.
 */
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { createHttpHostDriver } from "../../workers/rollout/create-driver.ts";
import type { Exchange, ExchangeSession } from "./exchanges.ts";

const KEPT_HEADERS = ["content-type", "keep-alive", "server"];
/** Named anew by every run. */
const LEFT_OUT = ["rid"];
const PUZZLE = "4 5 6 10\n";
const sampling = { temperature: 0.8, topP: 0.95, topK: 0, minP: 0, maxTokens: 12, stop: [] };
const SAMPLES = [
  { pieces: [{ text: PUZZLE }], seed: 7, sampling },
  { pieces: [{ text: PUZZLE }], seed: 7, sampling: { ...sampling, maxTokens: 40, stop: ["\n"] } },
  {
    pieces: [{ text: PUZZLE }],
    seed: 8,
    sampling: { ...sampling, maxTokens: 60, logprobs: true, tokens: true },
  },
];

const [, , engine = "", target = "", source = ""] = process.argv;
const exchanges: Exchange[] = [];
const proxy = createServer((request, response) => void forward(request, response));
proxy.listen(0, "127.0.0.1");
await once(proxy, "listening");
// It listens on a port, so its address is not a pipe's name.
const { port } = proxy.address() as AddressInfo;
process.stdout.write(`${JSON.stringify(await record(`http://127.0.0.1:${port}`), null, 2)}\n`);
proxy.closeAllConnections();
proxy.close();

async function record(url: string): Promise<ExchangeSession> {
  const spec = {
    engine,
    url,
    api_key_env: null,
    model: null,
    concurrency: "auto",
    timeout_ms: 60_000,
  } as const;
  const options = { model: null, env: {}, clock: systemClock, random: createRandom(1) };
  const driver = createHttpHostDriver({ ...spec, ...engineOf() }, options);
  const signal = AbortSignal.timeout(60_000);
  // How long a step took is another number in every run.
  const { stepFloorMs: _, ...facts } = await driver.probe(signal);
  const samples = [];
  for (const sample of SAMPLES) {
    const answer = await driver.sample({ ...sample, problem: "p", sample: 0 }, signal);
    samples.push({ ...sample, answer: { ...answer } });
  }
  const signals = await driver.signals(signal);
  await driver.close();
  return {
    engine: engineOf().engine,
    source,
    exchanges,
    facts,
    signals: { ...signals },
    samples,
  };
}

function engineOf() {
  if (engine === "openai" || engine === "llama-server") return { engine } as const;
  if (engine === "vllm" || engine === "sglang") return { engine, kv_events: null } as const;
  throw new Error(`expected openai, vllm, sglang or llama-server, found ${JSON.stringify(engine)}`);
}

async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let text = "";
  for await (const piece of request) text += String(piece);
  const { method = "GET", url = "/" } = request;
  const onward = httpRequest(target + url, { method, headers: { "content-type": "application/json" } });
  onward.end(text === "" ? undefined : text);
  response.on("close", () => onward.destroy());
  onward.on("error", () => response.destroy());
  const [answer] = (await once(onward, "response")) as [IncomingMessage];
  const pieces: Buffer[] = [];
  response.writeHead(answer.statusCode ?? 500, { "content-type": answer.headers["content-type"] ?? "" });
  answer.on("data", (piece: Buffer) => {
    pieces.push(piece);
    response.write(piece);
  });
  let isLeft = true;
  answer.on("end", () => {
    isLeft = false;
    keep();
    response.end();
  });
  answer.on("close", () => {
    if (isLeft) keep();
  });
  answer.on("error", () => undefined);

  function keep(): void {
    const body = withoutHistograms(url, Buffer.concat(pieces).toString("utf8"));
    const isStream = answer.headers["content-type"]?.startsWith("text/event-stream") === true;
    const asked = text === "" ? {} : { body: withoutNames(JSON.parse(text)) };
    exchanges.push({
      request: { line: `${method} ${url}`, ...asked },
      response: {
        status: answer.statusCode ?? 500,
        headers: headersOf(answer),
        chunks: isStream ? body.split(/(?<=\n\n)/) : [body],
        ...(isLeft ? { isLeft } : {}),
      },
    });
  }
}

/** Most of an engine's metrics, and none that a driver reads. */
function withoutHistograms(path: string, body: string): string {
  if (path !== "/metrics") return body;
  const kept = body.split("\n").filter((line) => !/^#|_bucket\{|_(?:sum|count|created)\b/.test(line));
  return kept.join("\n");
}

function headersOf({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      KEPT_HEADERS.includes(name) && typeof value === "string" ? [[name, value]] : [],
    ),
  );
}

function withoutNames(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([key]) => !LEFT_OUT.includes(key)));
}
