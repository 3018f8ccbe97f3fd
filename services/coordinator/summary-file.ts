/** `summary.json`, read back: somebody may have edited it, or another version written it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import { RUN_FILES } from "./run-directory.ts";
import { type Complaint, complaintsOf, pathText } from "./sweep-file/sweep-complaint.ts";
import type { Summary } from "./status.ts";

const count = z.int().min(0);
const known = z.number().nullable();
const share = z.number().min(0).max(1);

/** A summary of an older version knows less: what it does not say is unknown (I8). */
const later = known.default(null);

const usage = z.object({
  prompt_tokens: known,
  cached_tokens: known,
  computed_tokens: later,
  completion_tokens: known,
  verifier_tokens: known,
  pruned_tokens: known,
  cancelled_tokens: known,
  retried_tokens: known,
  gpu_seconds: later,
  flops: later,
});
const ceilings = {
  rollouts: known,
  completion_tokens: known,
  total_tokens: later,
  verifier_tokens: later,
  usd: later,
};
const amounts = z.object({ ...ceilings, gpu_seconds: later, wall_ms: known });
const total = z.number();
const charged = z.object({
  rollouts: total,
  completion_tokens: total,
  total_tokens: total,
  verifier_tokens: total,
  usd: total,
});
const states = { completed: count, exhausted: count, failed: count, cancelled: count };
const byK = z.record(z.string(), z.object({ mean: share, low: share, high: share, problems: count }));

const counts = z.object({ correct: count, incorrect: count, undecided: count });
const agreement = z.object({
  run: z.string(),
  before: z.string(),
  after: z.string(),
  verdicts: z.object({ correct: counts, incorrect: counts, undecided: counts }),
  lost: count,
  selected_again: count,
  selection_kept: count,
});

/** Keys of a newer version are passed over. */
const summarySchema = z.object({
  name: z.string(),
  version: z.string(),
  state: z.enum(["running", "paused", "completed", "cancelled", "interrupted", "failed"]),
  tasks: z.object({ total: count, ...states }),
  strategies: z.record(
    z.string(),
    z.object({
      problems: count,
      solved: count,
      accuracy: share,
      pass_at_k: z.record(z.string(), z.number()),
      estimates: z.object({
        pass_at_k: byK,
        pass_hat_k: byK,
        best_of_at_k: byK,
        majority_at_k: byK,
        weighted_at_k: byK,
      }),
      rollouts: count,
      mean_rollouts: z.number(),
      usage,
      budget: z.object({ given: z.object(ceilings), spent: charged }),
      tokens_per_solved: known,
      tasks: z.object(states),
    }),
  ),
  rollouts: count,
  failures_by_reason: z.record(z.string(), count).default({}),
  hedged: count.default(0),
  undecided: count.nullable().default(null),
  usage,
  budget: z.object({ given: amounts, spent: amounts }),
  prefix: z.object({
    prompt_tokens: known,
    computed_tokens: known,
    unique_tokens: known,
    ratio: known,
  }),
  wall_ms: z.number(),
  agreement: agreement.optional(),
});

/**
 * The summary of a run directory.
 * @throws not_found where there is none (the run has not ended), data_loss naming the first keys that are wrong.
 */
export async function readSummary(directory: string): Promise<Summary> {
  const path = join(directory, RUN_FILES.summary);
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    const why = `${path}: expected the summary of a run, which is written when it ends: ${messageOf(error)}`;
    throw new CoppiceError("not_found", why, { cause: error });
  });
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new CoppiceError("data_loss", `${path}: not JSON: ${messageOf(error)}`, { cause: error });
  }
  const parsed = summarySchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const complaints = complaintsOf(parsed.error.issues, raw).slice(0, 5).map(complaintText);
  throw new CoppiceError("data_loss", complaints.map((complaint) => `${path}: ${complaint}`).join("\n"));
}

function complaintText({ path, message }: Complaint): string {
  return `${path.length === 0 ? "" : `${pathText(path)}: `}${message}`;
}
