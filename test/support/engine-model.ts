/**
 * A small model of an engine under a client that always has more to ask: sequences decoded together at a speed that
 * saturates, a KV cache that fills while they grow, preemption of the youngest when it is full, a queue of its own, and
 * refusals. In steps of virtual time, for controllers of concurrency.
 */
import { createRandom, type Random } from "../../services/runtime/random.ts";
import type { EngineSignals } from "../../workers/rollout/driver.ts";

export interface EngineModelOptions {
  /** Tokens that the KV cache holds. */
  readonly kvTokens: number;
  /** Sequences decoded at once at most; others wait. */
  readonly sequencesMax: number;
  /** Seconds of one decode step: a fixed part, and one for each sequence; above `sequencesFast` each costs ten times as much. */
  readonly stepSeconds: number;
  readonly sequenceSeconds: number;
  readonly sequencesFast: number;
  readonly promptTokens: number;
  /** Of a rollout, at least and at most. */
  readonly outputTokens: readonly [number, number];
  readonly seed: number;
}

interface Sequence {
  tokens: number;
  left: number;
}

export interface EngineModel {
  /** Asks that it has, waiting ones too. */
  readonly inFlight: number;
  /** Completed so far. */
  readonly tokens: number;
  readonly preemptions: number;
  signals(): EngineSignals;
  /** From now on refuses what would be more than so many asks. */
  refuseAbove(asks: number): void;
  /**
   * Time passes; the client keeps `concurrency()` asks with it. `onFinished` and `onRefused` are told as it happens.
   */
  run(
    seconds: number,
    client: {
      readonly concurrency: () => number;
      readonly onFinished: (tokens: number) => void;
      readonly onRefused: () => void;
    },
  ): void;
}

/** Shorter than a decode step would be no more exact. */
const TICK_SECONDS = 0.1;

export function createEngineModel(options: EngineModelOptions): EngineModel {
  const random: Random = createRandom(options.seed);
  const [shortest, longest] = options.outputTokens;
  let running: Sequence[] = [];
  let waiting: Sequence[] = [];
  let refusedAbove = Infinity;
  let refusals = 0;
  let preemptions = 0;
  let completed = 0;

  const kvUsed = (): number => running.reduce((sum, { tokens }) => sum + tokens, 0);

  function admit(): void {
    let free = options.kvTokens - kvUsed();
    while (running.length < options.sequencesMax) {
      const next = waiting[0];
      if (next === undefined || next.tokens > free) return;
      free -= next.tokens;
      running.push(next);
      waiting = waiting.slice(1);
    }
  }

  function decode(onFinished: (tokens: number) => void): void {
    const slow = Math.max(0, running.length - options.sequencesFast);
    const seconds = options.stepSeconds + options.sequenceSeconds * (running.length + 9 * slow);
    const tokens = TICK_SECONDS / seconds;
    for (const sequence of running) {
      sequence.tokens += tokens;
      sequence.left -= tokens;
    }
    for (const { left, tokens: held } of running) {
      if (left > 0) continue;
      completed += held - options.promptTokens;
      onFinished(Math.round(held - options.promptTokens));
    }
    running = running.filter(({ left }) => left > 0);
    for (let used = kvUsed(); used > options.kvTokens;) {
      const youngest = running.pop();
      if (youngest === undefined) return;
      used -= youngest.tokens;
      preemptions += 1;
      // What it had decoded is computed again.
      waiting = [youngest, ...waiting];
    }
  }

  return {
    get inFlight() {
      return running.length + waiting.length;
    },
    get tokens() {
      return completed;
    },
    get preemptions() {
      return preemptions;
    },
    signals: () => ({
      running: running.length,
      waiting: waiting.length,
      kvUsage: Math.min(1, kvUsed() / options.kvTokens),
      preemptions,
      refusals,
      promptTokensComputed: null,
      promptTokensCached: null,
      cacheClears: 0,
    }),
    refuseAbove(asks) {
      refusedAbove = asks;
    },
    run(seconds, { concurrency, onFinished, onRefused }) {
      for (let tick = 0; tick < seconds / TICK_SECONDS; tick += 1) {
        while (running.length + waiting.length < concurrency()) {
          if (running.length + waiting.length >= refusedAbove) {
            refusals += 1;
            onRefused();
            break;
          }
          const left = shortest + random.next() * (longest - shortest);
          waiting.push({ tokens: options.promptTokens, left });
        }
        admit();
        decode(onFinished);
      }
    },
  };
}
