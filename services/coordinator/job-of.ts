/** Makes jobs of asks: what travels to a worker, under ids and seeds that are the same on every run (I4). Pure. */
import { createHash } from "node:crypto";
import type { Job } from "../queue/job.ts";
import { samplingOf } from "./ask-sampling.ts";
import type { OpenAsk } from "./backlog.ts";
import type { TaskRun } from "./task-run.ts";

/** Siblings, at least one, as one job. Retains the segments that it names, through the task. */
export function jobOf(
  task: TaskRun,
  asks: readonly OpenAsk[],
  run: { readonly id: string; readonly attempt: number; readonly priority: number },
): Job {
  const first = asks[0];
  if (first === undefined) throw new Error("a job carries at least one ask");
  const names = asks.map((open) => `${open.ask.id}#${open.dispatches}`).join(" ");
  const hash = createHash("sha256")
    .update(`${run.id}\0${run.attempt}\0${task.id}\0${names}`)
    .digest("hex")
    .slice(0, 24);
  const base = { sweep: run.id, task: task.id, problem: task.problem.id };
  if (first.ask.kind === "sample") {
    return {
      ...base,
      id: `r${hash}`,
      kind: "rollout",
      prefix: task.segments.of(first.ask.prefix),
      depth: first.ask.prefix.depth,
      sampling: samplingOf(task.arm.sampling, first.ask.options),
      priority: run.priority,
      asks: asks.flatMap(({ ask }) =>
        ask.kind === "sample" ? [{ id: ask.id, sample: ask.sample, seed: task.seedOf(ask) }] : [],
      ),
    };
  }
  return {
    ...base,
    id: `v${hash}`,
    kind: "verification",
    problemData: task.segments.written(JSON.stringify(task.problem)),
    verifier: task.segments.written(JSON.stringify(task.routes.specOf(first.ask))),
    asks: asks.flatMap(({ ask }) =>
      ask.kind === "verify"
        ? [{ id: ask.id, candidate: task.segments.candidateOf(ask), seed: task.verifierSeedOf(ask) }]
        : [],
    ),
  };
}
