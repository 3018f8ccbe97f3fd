/** Exchanges with an engine as files keep them (test/drivers/exchanges): recorded from a server, or written by its documents. */
import { readFileSync } from "node:fs";
import { z } from "zod";

const exchange = z.strictObject({
  /** Such as "POST /completion". */
  request: z.strictObject({
    line: z.string(),
    /** What a request must have at least; absent for a GET. */
    body: z.record(z.string(), z.unknown()).optional(),
  }),
  response: z.strictObject({
    status: z.int(),
    headers: z.record(z.string(), z.string()),
    /** The body, event by event where it is a stream. */
    chunks: z.array(z.string()),
    /** The client went away before the end. */
    isLeft: z.literal(true).optional(),
  }),
});

const session = z.strictObject({
  engine: z.enum(["vllm", "sglang", "llama-server", "openai"]),
  /** Which server, and how these exchanges came to be. */
  source: z.string(),
  exchanges: z.array(exchange),
  /** What a probe says of the host, at least. */
  facts: z.record(z.string(), z.unknown()),
  /** What it says of how the engine is doing, at least. */
  signals: z.record(z.string(), z.unknown()),
  /** What is asked of the driver, and what it answers. */
  samples: z.array(
    z.strictObject({
      pieces: z.array(z.strictObject({ text: z.string(), tokens: z.array(z.int()).exactOptional() })),
      seed: z.int(),
      priority: z.int().optional(),
      sampling: z.record(z.string(), z.unknown()),
      answer: z.record(z.string(), z.unknown()),
    }),
  ),
});

export type Exchange = z.output<typeof exchange>;
export type ExchangeSession = z.output<typeof session>;

export function readSession(path: string): ExchangeSession {
  return session.parse(JSON.parse(readFileSync(path, "utf8")));
}
