/** Statuses, events and problems to and from the wire (proto/coppice/v1). Errors name the field that is wrong. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Verdict } from "../../../proto/gen/coppice/v1/report_pb.ts";
import {
  LogLevel,
  SweepState as WireSweepState,
  TaskState as WireTaskState,
} from "../../../proto/gen/coppice/v1/status_pb.ts";
import type {
  BudgetAmounts as WireAmounts,
  BudgetAmountsSchema,
  Opening as WireOpening,
  SweepEvent as WireEvent,
  SweepEventSchema,
  SweepStatus as WireStatus,
  SweepStatusSchema,
  Usage as WireUsage,
  UsageSchema,
} from "../../../proto/gen/coppice/v1/status_pb.ts";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import type {
  BudgetAmounts,
  Opening,
  Summary,
  SweepEvent,
  SweepState,
  SweepStatus,
  TaskState,
  Usage,
} from "../status.ts";
import type { Problem } from "../sweep.ts";

const SWEEP_STATES = {
  running: WireSweepState.RUNNING,
  paused: WireSweepState.PAUSED,
  completed: WireSweepState.COMPLETED,
  cancelled: WireSweepState.CANCELLED,
  interrupted: WireSweepState.INTERRUPTED,
  failed: WireSweepState.FAILED,
} as const satisfies Record<SweepState, WireSweepState>;
const TASK_STATES = {
  queued: WireTaskState.QUEUED,
  running: WireTaskState.RUNNING,
  completed: WireTaskState.COMPLETED,
  exhausted: WireTaskState.EXHAUSTED,
  failed: WireTaskState.FAILED,
  cancelled: WireTaskState.CANCELLED,
} as const satisfies Record<TaskState, WireTaskState>;
const VERDICTS = {
  correct: Verdict.CORRECT,
  incorrect: Verdict.INCORRECT,
  undecided: Verdict.UNDECIDED,
} as const;
const LOG_LEVELS = { info: LogLevel.INFO, warn: LogLevel.WARN, error: LogLevel.ERROR } as const;

export function statusToWire(status: SweepStatus): MessageInitShape<typeof SweepStatusSchema> {
  return {
    id: status.id,
    name: status.name,
    state: SWEEP_STATES[status.state],
    tasks: wholes(status.tasks),
    usage: usageToWire(status.usage),
    budgetGiven: amountsToWire(status.budget.given),
    budgetSpent: amountsToWire(status.budget.spent),
    hosts: status.hosts.map(({ id, engine, open_tasks, waiting, running }) => ({
      id,
      engine,
      ...wholes({ openTasks: open_tasks, waiting, running }),
    })),
    ...wholes({
      solved: status.solved,
      rollouts: status.rollouts,
      verifications: status.verifications,
      inFlight: status.in_flight,
      failures: status.failures,
      elapsedMs: status.elapsed_ms,
    }),
    failuresByReason: wholes(status.failures_by_reason),
    output: status.output,
  };
}

/** Throws "data_loss" naming the field that is missing or unknown. */
export function statusFromWire(wire: WireStatus | undefined): SweepStatus {
  if (wire?.tasks === undefined)
    throw damaged(wire === undefined ? "status" : "status.tasks", "a message", "nothing");
  const { total, queued, running, completed, exhausted, failed, cancelled } = wire.tasks;
  return {
    id: wire.id,
    name: wire.name,
    state: keyOf(SWEEP_STATES, wire.state, "status.state"),
    tasks: numbers({ total, queued, running, completed, exhausted, failed, cancelled }),
    usage: usageFromWire(wire.usage),
    budget: { given: amountsFromWire(wire.budgetGiven), spent: amountsFromWire(wire.budgetSpent) },
    hosts: wire.hosts.map((host) => ({
      id: host.id,
      engine: host.engine,
      ...numbers({ open_tasks: host.openTasks, waiting: host.waiting, running: host.running }),
    })),
    ...numbers({
      solved: wire.solved,
      rollouts: wire.rollouts,
      verifications: wire.verifications,
      in_flight: wire.inFlight,
      failures: wire.failures,
      elapsed_ms: wire.elapsedMs,
    }),
    failures_by_reason: numbers(wire.failuresByReason),
    output: wire.output,
  };
}

export function eventToWire(event: SweepEvent): MessageInitShape<typeof SweepEventSchema> {
  switch (event.kind) {
    case "status":
      return { event: { case: "status", value: statusToWire(event.status) } };
    case "task": {
      const { task, state, verdict, rollouts, opening } = event;
      return {
        event: {
          case: "task",
          value: {
            task,
            state: TASK_STATES[state],
            verdict: verdict === null ? Verdict.UNSPECIFIED : VERDICTS[verdict],
            ...wholes({ rollouts }),
            ...(opening === null ? {} : { opening }),
          },
        },
      };
    }
    case "placed": {
      const { kind: _, home, skipped, ...told } = event;
      return {
        event: {
          case: "placed",
          value: { ...told, ...(home === null ? {} : { home }), ...wholes({ skipped }) },
        },
      };
    }
    case "log":
      return { event: { case: "log", value: { level: LOG_LEVELS[event.level], message: event.message } } };
    case "ended":
      return { event: { case: "ended", value: { summaryJson: JSON.stringify(event.summary) } } };
  }
}

/** Null for an event of a kind that a newer coordinator sends. Throws "data_loss" naming the field that is wrong. */
export function eventFromWire(wire: WireEvent | undefined): SweepEvent | null {
  const event = wire?.event;
  switch (event?.case) {
    case "status":
      return { kind: "status", status: statusFromWire(event.value) };
    case "task": {
      const { task, state, verdict } = event.value;
      return {
        kind: "task",
        task,
        state: keyOf(TASK_STATES, state, "task.state"),
        verdict: verdict === Verdict.UNSPECIFIED ? null : keyOf(VERDICTS, verdict, "task.verdict"),
        rollouts: Number(event.value.rollouts),
        opening: event.value.opening === undefined ? null : openingFromWire(event.value.opening),
      };
    }
    case "placed": {
      const { task, decision, host, home = null, reason, skipped } = event.value;
      const why = openingFromWire({ kind: decision, host, reason });
      return {
        kind: "placed",
        task,
        host,
        home,
        decision: why.kind,
        reason: why.reason,
        skipped: Number(skipped),
      };
    }
    case "log":
      return {
        kind: "log",
        level: keyOf(LOG_LEVELS, event.value.level, "log.level"),
        message: event.value.message,
      };
    case "ended":
      return { kind: "ended", summary: summaryFromJson(event.value.summaryJson) };
    case undefined:
      return null;
  }
}

/** A newer coordinator may know other kinds and reasons; they are shown as they are. */
function openingFromWire({ kind, host, reason }: Pick<WireOpening, "kind" | "host" | "reason">): Opening {
  return { kind: kind as Opening["kind"], host, reason: reason as Opening["reason"] };
}

function summaryFromJson(text: string): Summary {
  const value = objectFromJson(text, "ended.summary_json", "data_loss");
  if (typeof value["name"] !== "string" || typeof value["state"] !== "string")
    throw damaged("ended.summary_json", "a summary", text.slice(0, 80));
  // The coordinator's own `summary.json`, which the client prints and does not compute with.
  return value as unknown as Summary;
}

/** One line of `ProblemLines`. Throws "invalid_argument" naming the field that is wrong. */
export function problemFromLine(line: string, at: string): Problem {
  const value = objectFromJson(line, at, "invalid_argument");
  const { id, prompt, reference = null, tests = null, metadata = {} } = value;
  if (typeof id !== "string" || id === "") throw wrong(`${at}.id`, "a text", id);
  if (typeof prompt !== "string") throw wrong(`${at}.prompt`, "a text", prompt);
  if (reference !== null && typeof reference !== "string")
    throw wrong(`${at}.reference`, "a text or null", reference);
  if (tests !== null && typeof tests !== "string") throw wrong(`${at}.tests`, "a text or null", tests);
  if (!isRecord(metadata)) throw wrong(`${at}.metadata`, "an object", metadata);
  return { id, prompt, reference, tests, metadata };
}

export function problemToLine({ id, prompt, reference, tests, metadata }: Problem): string {
  return JSON.stringify({ id, prompt, reference, tests, metadata });
}

function objectFromJson(
  text: string,
  at: string,
  code: "invalid_argument" | "data_loss",
): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CoppiceError(code, `${at}: expected JSON: ${messageOf(error)}`);
  }
  if (isRecord(value)) return value;
  throw new CoppiceError(code, `${at}: expected a JSON object, found ${text.slice(0, 80)}`);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function usageToWire(usage: Usage): MessageInitShape<typeof UsageSchema> {
  const { gpu_seconds: gpuSeconds, flops } = usage;
  const wholesOf = knownWholes({
    promptTokens: usage.prompt_tokens,
    cachedTokens: usage.cached_tokens,
    completionTokens: usage.completion_tokens,
    verifierTokens: usage.verifier_tokens,
    prunedTokens: usage.pruned_tokens,
    cancelledTokens: usage.cancelled_tokens,
    retriedTokens: usage.retried_tokens,
    computedTokens: usage.computed_tokens,
  });
  return {
    ...wholesOf,
    ...(gpuSeconds === null ? {} : { gpuSeconds }),
    ...(flops === null ? {} : { flops }),
  };
}

function usageFromWire(wire: WireUsage | undefined): Usage {
  return {
    prompt_tokens: known(wire?.promptTokens),
    cached_tokens: known(wire?.cachedTokens),
    completion_tokens: known(wire?.completionTokens),
    verifier_tokens: known(wire?.verifierTokens),
    pruned_tokens: known(wire?.prunedTokens),
    cancelled_tokens: known(wire?.cancelledTokens),
    retried_tokens: known(wire?.retriedTokens),
    computed_tokens: known(wire?.computedTokens),
    gpu_seconds: wire?.gpuSeconds ?? null,
    flops: wire?.flops ?? null,
  };
}

function amountsToWire(amounts: BudgetAmounts): MessageInitShape<typeof BudgetAmountsSchema> {
  const { usd, gpu_seconds: gpuSeconds } = amounts;
  return {
    ...knownWholes({
      rollouts: amounts.rollouts,
      completionTokens: amounts.completion_tokens,
      totalTokens: amounts.total_tokens,
      verifierTokens: amounts.verifier_tokens,
      wallMs: amounts.wall_ms,
    }),
    ...(usd === null ? {} : { usd }),
    ...(gpuSeconds === null ? {} : { gpuSeconds }),
  };
}

function amountsFromWire(wire: WireAmounts | undefined): BudgetAmounts {
  return {
    rollouts: known(wire?.rollouts),
    completion_tokens: known(wire?.completionTokens),
    total_tokens: known(wire?.totalTokens),
    verifier_tokens: known(wire?.verifierTokens),
    usd: wire?.usd ?? null,
    gpu_seconds: wire?.gpuSeconds ?? null,
    wall_ms: known(wire?.wallMs),
  };
}

function known(value: bigint | undefined): number | null {
  return value === undefined ? null : Number(value);
}

/** Counts and milliseconds as uint64; a fraction of a millisecond is rounded away. */
function wholes<K extends string>(values: Readonly<Record<K, number>>): Record<K, bigint> {
  // Same keys, other values; Object.entries forgets which.
  return Object.fromEntries(
    Object.entries<number>(values).map(([key, value]) => [key, whole(value)]),
  ) as Record<K, bigint>;
}

function knownWholes<K extends string>(
  values: Readonly<Record<K, number | null>>,
): Partial<Record<K, bigint>> {
  const entries = Object.entries<number | null>(values);
  // As above, without those that are unknown (I8).
  return Object.fromEntries(
    entries.flatMap(([key, value]) => (value === null ? [] : [[key, whole(value)]])),
  ) as Partial<Record<K, bigint>>;
}

function whole(value: number): bigint {
  return BigInt(Math.max(0, Math.round(value)));
}

function numbers<K extends string>(values: Readonly<Record<K, bigint>>): Record<K, number> {
  // Same keys, other values.
  return Object.fromEntries(
    Object.entries<bigint>(values).map(([key, value]) => [key, Number(value)]),
  ) as Record<K, number>;
}

function keyOf<K extends string>(table: Readonly<Record<K, number>>, value: number, at: string): K {
  for (const key in table) if (table[key] === value) return key;
  throw damaged(at, `one of ${Object.keys(table).join(", ")}`, String(value));
}

function damaged(at: string, expected: string, found: string): CoppiceError {
  return new CoppiceError("data_loss", `${at}: expected ${expected}, found ${found}`);
}

function wrong(at: string, expected: string, found: unknown): CoppiceError {
  return new CoppiceError(
    "invalid_argument",
    `${at}: expected ${expected}, found ${JSON.stringify(found) ?? "nothing"}`,
  );
}
