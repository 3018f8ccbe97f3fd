/** Jobs for tests of lanes: small, valid, told apart by their ids. */
import type { RolloutJob } from "../../services/queue/job.ts";

export function rolloutJob(id: string): RolloutJob {
  return {
    kind: "rollout",
    id,
    sweep: "sweep-1",
    task: "task-1",
    problem: "problem-1",
    prefix: ["0123456789abcdef0123456789abcdef"],
    depth: 0,
    sampling: { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 64, stop: ["\n"] },
    asks: [{ id: `${id}/0`, sample: 0, seed: 7 }],
  };
}

/** `count` jobs "job-0", "job-1"... */
export function rolloutJobs(count: number): readonly RolloutJob[] {
  return Array.from({ length: count }, (_, index) => rolloutJob(`job-${index}`));
}
