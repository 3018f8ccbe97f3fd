/** A host that serves recorded rollouts from memory. Which record is which sample is drawn by a seed, so that a spread can be told. */
import type { RecordLine } from "../../../workers/rollout/drivers/replay-index.ts";
import type { Ability } from "../../queue/job.ts";
import type { Driver } from "../../../workers/rollout/driver.ts";
import { promptText } from "../../../workers/rollout/prompt.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { createRandom, deriveSeed } from "../../runtime/random.ts";
import { type Recorded, tokensOf } from "./recorded.ts";

const CONCURRENCY = 256;
const NAME = "the replay of records";

export interface RecordedDriver extends Driver {
  /** Draws anew which record is which sample; 0: as they were recorded. */
  shuffle(seed: number): void;
}

/** What a host of records can do beside serving them. */
export function recordedAbilities(hasLogprobs: boolean): readonly Ability[] {
  return hasLogprobs ? ["logprobs"] : [];
}

/** @param promptOf The rendered prompt of a problem, by its id: what records are samples of. */
export function createRecordedDriver(
  recorded: Recorded,
  promptOf: (problem: string) => string | null,
): RecordedDriver {
  let seed = 0;
  const shuffled = new Map<string, readonly RecordLine[]>();

  const recordsOf = (problem: string): readonly RecordLine[] => {
    let records = shuffled.get(problem);
    if (records !== undefined) return records;
    records = recorded.byProblem.get(problem) ?? [];
    if (seed !== 0) records = permuted(records, deriveSeed(seed, problem));
    shuffled.set(problem, records);
    return records;
  };
  const cannot = (what: string): CoppiceError =>
    new CoppiceError("unimplemented", `${NAME} cannot ${what}: it has whole rollouts of problems only`);
  return {
    engine: "replay",
    shuffle(next) {
      seed = next;
      shuffled.clear();
    },
    async probe() {
      return {
        model: "*",
        concurrency: CONCURRENCY,
        concurrencyMax: CONCURRENCY,
        blockTokens: null,
        sharesColdPrefixes: true,
        kvCapacityTokens: null,
        contextTokens: null,
        reportsCachedTokens: false,
        can: recordedAbilities(recorded.hasLogprobs),
      };
    },
    signals: async () => null,
    async sample({ problem, sample, pieces, depth = 0, onFirstToken }) {
      if (depth > 0) throw cannot("continue a rollout");
      if (promptText(pieces) !== promptOf(problem)) throw cannot("answer a prompt that the strategy wrote");
      const records = recordsOf(problem);
      const record = records[sample];
      if (record === undefined) {
        const found = `found ${records.length} of that problem`;
        throw new CoppiceError(
          "not_found",
          `no record of sample ${sample} of problem ${JSON.stringify(problem)}: ${found}`,
        );
      }
      onFirstToken?.();
      const { text, finishReason, stopString = null, meanLogprob } = record;
      return {
        result: { kind: "rollout", text, finishReason, stopString, meanLogprob },
        usage: { promptTokens: null, cachedTokens: null, completionTokens: tokensOf(record) },
      };
    },
    score: async () => Promise.reject(cannot("score a text")),
    likelihood: async () => Promise.reject(cannot("tell the likelihood of a text")),
    reward: async () => Promise.reject(cannot("tell a text's reward")),
    close: async () => undefined,
  };
}

/** Fisher and Yates's shuffle. */
function permuted<T>(given: readonly T[], seed: number): readonly T[] {
  const items = [...given];
  const random = createRandom(seed);
  for (let i = items.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random.next() * (i + 1));
    // Both are in range.
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  }
  return items;
}
