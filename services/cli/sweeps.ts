/** A client's call to a coordinator: opened for one command, closed after it. */
import { randomInt } from "node:crypto";
import type { SweepStatus } from "../coordinator/status.ts";
import { createRandom } from "../runtime/random.ts";
import { readToken } from "./options.ts";
import { cachedShare, formatShare } from "./progress-line.ts";
import { formatCount } from "./count-text.ts";
import { reasonsText } from "./failure-lines.ts";
import type { Shell } from "./shell.ts";
import { connectSweeps, type SweepClient } from "./sweep-client.ts";

export interface ClientOptions {
  readonly coordinator: string;
  readonly tokenEnv: string;
}

/** Calls the coordinator that the options name. @throws unavailable naming its address. */
export async function withSweeps<T>(
  shell: Shell,
  options: ClientOptions,
  call: (sweeps: SweepClient) => Promise<T>,
): Promise<T> {
  const token = readToken(shell, options.tokenEnv);
  const sweeps = connectSweeps(options.coordinator, {
    token,
    clock: shell.clock,
    random: createRandom(randomInt(2 ** 31)),
  });
  try {
    return await call(sweeps);
  } finally {
    sweeps.close();
  }
}

/** `3 lost: 2 host_timeout, 1 verifier_crashed`. */
function lostText({ failures, failures_by_reason: byReason }: SweepStatus): string {
  const reasons = reasonsText(byReason);
  return `${formatCount(failures)} lost${reasons === "" ? "" : `: ${reasons}`}`;
}

/** A status as lines for a person. */
export function statusLines(status: SweepStatus): readonly string[] {
  const { total, ...byState } = status.tasks;
  const states = Object.entries(byState).filter(([, n]) => n > 0);
  return [
    `${status.id}: ${status.state}`,
    `  tasks       ${formatCount(total)}: ${states.map(([state, n]) => `${formatCount(n)} ${state}`).join(", ")}`,
    `  solved      ${formatCount(status.solved)}`,
    `  rollouts    ${formatCount(status.rollouts)}, ${formatCount(status.in_flight)} asks in flight, ${lostText(status)}`,
    `  tokens      ${status.usage.completion_tokens === null ? "unknown" : formatCount(status.usage.completion_tokens)}`,
    `  cached      ${formatShare(cachedShare(status.usage))}`,
    ...status.hosts.map(
      (host) =>
        `  host        ${host.id} (${host.engine}): ${host.open_tasks} tasks open, ${host.waiting} waiting, ${host.running} running`,
    ),
    `  output      ${status.output}`,
  ];
}
