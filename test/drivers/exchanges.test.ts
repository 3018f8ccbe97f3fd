/** Every driver over kept exchanges with its engine (exchanges/), their bytes cut wherever that may hurt. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import type { Sampling } from "../../services/queue/job.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { createLlamaServerDriver } from "../../workers/rollout/drivers/llama-server.ts";
import { createOpenaiDriver } from "../../workers/rollout/drivers/openai.ts";
import { createSglangDriver } from "../../workers/rollout/drivers/sglang.ts";
import { createVllmDriver } from "../../workers/rollout/drivers/vllm.ts";
import { startExchangeServer } from "../support/exchange-server.ts";
import { type ExchangeSession, readSession } from "../support/exchanges.ts";

const FOLDER = join(import.meta.dirname, "exchanges");
const never = new AbortController().signal;
const CREATE = {
  vllm: createVllmDriver,
  sglang: createSglangDriver,
  "llama-server": createLlamaServerDriver,
  openai: createOpenaiDriver,
};
/** One byte at a time; such that characters of two, three and four bytes are cut; lines together; all at once. */
const PIECE_BYTES = [1, 3, 17, 1_000, 1_000_000];

async function open({ engine, exchanges }: ExchangeSession, pieceBytes: number) {
  const server = await startExchangeServer(exchanges, { pieceBytes });
  const options = {
    url: server.url,
    model: null,
    apiKey: null,
    concurrency: "auto",
    clock: systemClock,
  } as const;
  const limits = { retriesMax: 0, abortMs: 2_000, abortPollMs: 1 };
  return { server, driver: CREATE[engine]({ ...options, random: createRandom(1), limits }) };
}

for (const name of readdirSync(FOLDER)) {
  const session = readSession(join(FOLDER, name));
  describe(`exchanges with ${name.replace(".json", "")}`, () => {
    for (const pieceBytes of PIECE_BYTES) {
      it(`are understood in pieces of ${pieceBytes} bytes`, async () => {
        const { server, driver } = await open(session, pieceBytes);
        const facts = await driver.probe(never);
        expect(facts).toMatchObject(session.facts);
        expect(facts.stepFloorMs).toBeGreaterThan(0);
        expect(await driver.report(never)).toMatchObject({
          abort: session.engine === "openai" ? "unknown" : "stops",
        });
        for (const { answer, sampling, ...asked } of session.samples) {
          // The file says it whole.
          const whole = sampling as unknown as Sampling;
          const order: string[] = [];
          const request = { ...asked, problem: "p", sample: 0, sampling: whole };
          const priority = asked.priority ?? 0;
          const onFirstToken = () => order.push("first token");
          const sampled = await driver.sample({ ...request, priority, onFirstToken }, never);
          order.push("answer");
          expect(sampled).toEqual(answer);
          expect(order).toEqual(["first token", "answer"]);
        }
        expect(await driver.signals(never)).toMatchObject(session.signals);
        expect(server.strange).toEqual([]);
        await driver.close();
        await server.close();
      });
    }
  });
}
