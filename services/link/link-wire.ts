/**
 * The link's types to and from the wire (proto/coppice/v1). Wire messages are checked here and go no further; an error
 * names the field that is wrong.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { FinishReason, Verdict } from "../../proto/gen/coppice/v1/report_pb.ts";
import type {
  AttemptUsage as WireUsage,
  Report as WireReport,
  ReportSchema,
} from "../../proto/gen/coppice/v1/report_pb.ts";
import type {
  HostFacts as WireHost,
  HostSignals as WireSignals,
  HostSignalsSchema,
  RegisterRequest,
  RegisterRequestSchema,
  Segment as WireSegment,
  SegmentSchema,
} from "../../proto/gen/coppice/v1/workers_pb.ts";
import { isAbility } from "../queue/job.ts";
import type { Ability, AttemptUsage, Report, Segment, VerdictResult } from "../queue/job.ts";
import { CoppiceError } from "../runtime/errors.ts";
import type { HostFacts, HostSignals, WorkerFacts } from "./link.ts";
import { tokensFromWire, tokensToWire } from "./token-bytes.ts";

/** Longest id or name that is taken, in characters. */
export const NAME_CHARS_MAX = 1_024;
/** Kinds of verifier that one worker may offer. */
export const VERIFIERS_MAX = 64;
/** Abilities that one host may claim. */
export const ABILITIES_MAX = 64;

/** Throws "invalid_argument" where a count is not one: such a message could not be encoded, nor any batch with it. */
export function reportToWire(report: Report): MessageInitShape<typeof ReportSchema> {
  const { result, host, usage, attempt, firstTokenMs, ...rest } = report;
  return {
    ...rest,
    ...present("host", host),
    attempt: count(attempt, "report.attempt"),
    ...present("firstTokenMs", firstTokenMs ?? null),
    usage: {
      ...present("promptTokens", countOrNull(usage.promptTokens, "report.usage.prompt_tokens")),
      ...present("cachedTokens", countOrNull(usage.cachedTokens, "report.usage.cached_tokens")),
      ...present("completionTokens", countOrNull(usage.completionTokens, "report.usage.completion_tokens")),
    },
    result: resultToWire(result),
  };
}

function resultToWire(
  result: Report["result"],
): NonNullable<MessageInitShape<typeof ReportSchema>["result"]> {
  switch (result.kind) {
    case "rollout":
      return {
        case: "rollout",
        value: {
          text: result.text,
          finishReason: result.finishReason === "stop" ? FinishReason.STOP : FinishReason.LENGTH,
          ...present("stopString", result.stopString),
          ...present("meanLogprob", result.meanLogprob),
          ...(result.tokens === undefined
            ? {}
            : { tokens: tokensToWire(result.tokens, "report.result.rollout.tokens") }),
        },
      };
    case "verdict":
      return {
        case: "verdict",
        value: {
          verdict: VERDICT_TO_WIRE[result.verdict],
          ...present("score", result.score),
          ...present("answer", result.answer),
          ...present("reason", result.reason),
        },
      };
    case "cancelled":
      return { case: "cancelled", value: {} };
    case "failure":
      return { case: "failure", value: { reason: result.reason, message: result.message } };
  }
}

/** @param at The field's path within its message. Throws "invalid_argument" naming the field that is wrong. */
export function reportFromWire(wire: WireReport | undefined, at: string): Report {
  if (wire === undefined) throw missing(at);
  return {
    sweep: name(wire.sweep, `${at}.sweep`),
    task: name(wire.task, `${at}.task`),
    ask: name(wire.ask, `${at}.ask`),
    job: name(wire.job, `${at}.job`),
    attempt: atLeastOne(wire.attempt, `${at}.attempt`),
    worker: name(wire.worker, `${at}.worker`),
    host: wire.host === undefined ? null : name(wire.host, `${at}.host`),
    result: resultFromWire(wire.result, `${at}.result`),
    usage: usageFromWire(wire.usage),
    startedMs: finite(wire.startedMs, `${at}.started_ms`),
    ...present(
      "firstTokenMs",
      wire.firstTokenMs === undefined ? null : finite(wire.firstTokenMs, `${at}.first_token_ms`),
    ),
    endedMs: finite(wire.endedMs, `${at}.ended_ms`),
  };
}

function resultFromWire(result: WireReport["result"], at: string): Report["result"] {
  switch (result.case) {
    case "rollout": {
      const { text, stopString = null, meanLogprob = null, tokens } = result.value;
      if (meanLogprob !== null) finite(meanLogprob, `${at}.rollout.mean_logprob`);
      return {
        kind: "rollout",
        text,
        finishReason: finishReasonFromWire(result.value.finishReason, `${at}.rollout.finish_reason`),
        stopString,
        meanLogprob,
        ...(tokens === undefined ? {} : { tokens: tokensFromWire(tokens, `${at}.rollout.tokens`) }),
      };
    }
    case "verdict": {
      const { score = null, answer = null, reason = null } = result.value;
      if (score !== null) finite(score, `${at}.verdict.score`);
      return {
        kind: "verdict",
        verdict: verdictFromWire(result.value.verdict, `${at}.verdict.verdict`),
        score,
        answer,
        reason,
      };
    }
    case "cancelled":
      return { kind: "cancelled" };
    case "failure":
      return {
        kind: "failure",
        reason: name(result.value.reason, `${at}.failure.reason`),
        message: result.value.message,
      };
    case undefined:
      throw missing(at);
  }
}

function usageFromWire(usage: WireUsage | undefined): AttemptUsage {
  return {
    promptTokens: usage?.promptTokens ?? null,
    cachedTokens: usage?.cachedTokens ?? null,
    completionTokens: usage?.completionTokens ?? null,
  };
}

const VERDICT_TO_WIRE = {
  correct: Verdict.CORRECT,
  incorrect: Verdict.INCORRECT,
  undecided: Verdict.UNDECIDED,
} as const;

function verdictFromWire(verdict: Verdict, at: string): VerdictResult["verdict"] {
  if (verdict === Verdict.CORRECT) return "correct";
  if (verdict === Verdict.INCORRECT) return "incorrect";
  if (verdict === Verdict.UNDECIDED) return "undecided";
  throw new CoppiceError(
    "invalid_argument",
    `${at}: expected CORRECT, INCORRECT or UNDECIDED, found ${verdict}`,
  );
}

function finishReasonFromWire(reason: FinishReason, at: string): "stop" | "length" {
  if (reason === FinishReason.STOP) return "stop";
  if (reason === FinishReason.LENGTH) return "length";
  throw new CoppiceError("invalid_argument", `${at}: expected STOP or LENGTH, found ${reason}`);
}

/** Throws "invalid_argument" where a count is not one. */
export function workerToWire(facts: WorkerFacts): MessageInitShape<typeof RegisterRequestSchema> {
  const { offers } = facts;
  if (offers.kind === "verification") {
    return {
      worker: facts.id,
      offers: {
        case: "verification",
        value: { verifiers: [...offers.verifiers], concurrency: count(offers.concurrency, "concurrency") },
      },
    };
  }
  const { kvCapacityTokens, contextTokens, blockTokens, can, ...host } = offers.host;
  return {
    worker: facts.id,
    offers: {
      case: "rollout",
      value: {
        host: {
          ...host,
          can: [...can],
          concurrency: count(host.concurrency, "host.concurrency"),
          concurrencyMax: count(host.concurrencyMax, "host.concurrency_max"),
          ...present("blockTokens", countOrNull(blockTokens, "host.block_tokens")),
          ...present(
            "kvCapacityTokens",
            kvCapacityTokens === null ? null : wholeToWire(kvCapacityTokens, "host.kv_capacity_tokens"),
          ),
          ...present(
            "contextTokens",
            contextTokens === null ? null : wholeToWire(contextTokens, "host.context_tokens"),
          ),
        },
      },
    },
  };
}

/** Throws "invalid_argument" naming the field that is wrong. */
export function workerFromWire(wire: RegisterRequest): WorkerFacts {
  const id = name(wire.worker, "worker");
  switch (wire.offers.case) {
    case "rollout":
      return { id, offers: { kind: "rollout", host: hostFromWire(wire.offers.value.host, "rollout.host") } };
    case "verification": {
      const { verifiers, concurrency } = wire.offers.value;
      if (verifiers.length === 0 || verifiers.length > VERIFIERS_MAX) {
        throw new CoppiceError(
          "invalid_argument",
          `verification.verifiers: expected 1 to ${VERIFIERS_MAX} kinds, found ${verifiers.length}`,
        );
      }
      const kinds = verifiers.map((kind, index) => name(kind, `verification.verifiers[${index}]`));
      return {
        id,
        offers: {
          kind: "verification",
          verifiers: kinds,
          concurrency: atLeastOne(concurrency, "verification.concurrency"),
        },
      };
    }
    case undefined:
      throw missing("offers");
  }
}

function hostFromWire(wire: WireHost | undefined, at: string): HostFacts {
  if (wire === undefined) throw missing(at);
  return {
    id: name(wire.id, `${at}.id`),
    engine: name(wire.engine, `${at}.engine`),
    model: name(wire.model, `${at}.model`),
    concurrency: atLeastOne(wire.concurrency, `${at}.concurrency`),
    // A worker of an older version has a fixed number and says no other.
    concurrencyMax: Math.max(wire.concurrency, wire.concurrencyMax),
    kvCapacityTokens:
      wire.kvCapacityTokens === undefined
        ? null
        : wholeFromWire(wire.kvCapacityTokens, `${at}.kv_capacity_tokens`),
    contextTokens:
      wire.contextTokens === undefined ? null : wholeFromWire(wire.contextTokens, `${at}.context_tokens`),
    reportsCachedTokens: wire.reportsCachedTokens,
    blockTokens: wire.blockTokens === undefined ? null : atLeastOne(wire.blockTokens, `${at}.block_tokens`),
    sharesColdPrefixes: wire.sharesColdPrefixes,
    ...present("gpus", wire.gpus ?? null),
    ...present(
      "stepFloorMs",
      wire.stepFloorMs === undefined ? null : aboveZero(wire.stepFloorMs, `${at}.step_floor_ms`),
    ),
    can: abilitiesFromWire(wire.can, `${at}.can`),
  };
}

/** Throws "invalid_argument" where a count is not one. */
export function signalsToWire(signals: HostSignals): MessageInitShape<typeof HostSignalsSchema> {
  const { running, waiting, kvUsage, preemptions } = signals;
  return {
    concurrency: count(signals.concurrency, "host.concurrency"),
    cacheLosses: count(signals.cacheLosses, "host.cache_losses"),
    isDown: !signals.isUp,
    ...present("running", countOrNull(running, "host.running")),
    ...present("waiting", countOrNull(waiting, "host.waiting")),
    ...present("kvUsage", kvUsage),
    ...present("preemptions", countOrNull(preemptions, "host.preemptions")),
  };
}

/** Throws "invalid_argument" naming the field that is wrong. */
export function signalsFromWire(wire: WireSignals, at: string): HostSignals {
  const { running = null, waiting = null, kvUsage = null, preemptions = null, cacheLosses } = wire;
  if (kvUsage !== null && !(kvUsage >= 0 && kvUsage <= 1))
    throw new CoppiceError("invalid_argument", `${at}.kv_usage: expected 0 to 1, found ${kvUsage}`);
  const concurrency = atLeastOne(wire.concurrency, `${at}.concurrency`);
  return { isUp: !wire.isDown, concurrency, running, waiting, kvUsage, preemptions, cacheLosses };
}

/** What this coordinator knows nothing of is left out: a newer worker's host can do that too. */
function abilitiesFromWire(can: readonly string[], at: string): readonly Ability[] {
  if (can.length > ABILITIES_MAX)
    throw new CoppiceError(
      "invalid_argument",
      `${at}: expected at most ${ABILITIES_MAX}, found ${can.length}`,
    );
  return can.filter((ability) => isAbility(ability));
}

/** A segment's token ids, where it has some. */
export function segmentToWire({ tokens, ...segment }: Segment): MessageInitShape<typeof SegmentSchema> {
  if (tokens === undefined) return segment;
  return { ...segment, tokens: tokensToWire(tokens, "segments.tokens") };
}

/** Throws "invalid_argument" where its tokens are none. */
export function segmentFromWire({ id, text, tokens }: WireSegment): Segment {
  return tokens === undefined
    ? { id, text }
    : { id, text, tokens: tokensFromWire(tokens, "segments.tokens") };
}

/** An id or a name: present and not too long. Throws "invalid_argument". */
export function name(value: string, at: string): string {
  if (value === "") throw missing(at);
  if (value.length > NAME_CHARS_MAX) {
    throw new CoppiceError(
      "invalid_argument",
      `${at}: expected at most ${NAME_CHARS_MAX} characters, found ${value.length}`,
    );
  }
  return value;
}

/** A uint64 as a number. Throws "invalid_argument" above 2^53 - 1. */
export function wholeFromWire(value: bigint, at: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new CoppiceError(
      "invalid_argument",
      `${at}: expected at most ${Number.MAX_SAFE_INTEGER}, found ${value}`,
    );
  }
  return Number(value);
}

/** A count as a uint64. Throws "invalid_argument" unless it is a whole number from 0 to 2^53 - 1. */
export function wholeToWire(value: number, at: string): bigint {
  if (Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw new CoppiceError("invalid_argument", `${at}: expected a whole number from 0, found ${value}`);
}

function count(value: number, at: string): number {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return value;
  throw new CoppiceError(
    "invalid_argument",
    `${at}: expected a whole number from 0 to 4294967295, found ${value}`,
  );
}

function countOrNull(value: number | null, at: string): number | null {
  return value === null ? null : count(value, at);
}

function atLeastOne(value: number, at: string): number {
  if (value < 1) throw new CoppiceError("invalid_argument", `${at}: expected at least 1, found ${value}`);
  return value;
}

function aboveZero(value: number, at: string): number {
  if (!(finite(value, at) > 0))
    throw new CoppiceError("invalid_argument", `${at}: expected a number above 0, found ${value}`);
  return value;
}

function finite(value: number, at: string): number {
  if (!Number.isFinite(value))
    throw new CoppiceError("invalid_argument", `${at}: expected a finite number, found ${value}`);
  return value;
}

function missing(at: string): CoppiceError {
  return new CoppiceError("invalid_argument", `${at}: required, found nothing`);
}

/** `{ [key]: value }`, or nothing where the value is null: absent on the wire is unknown (I8). */
export function present<K extends string, V>(key: K, value: V | null): { readonly [P in K]?: V } {
  // A computed key widens to an index signature; this is the same object.
  return (value === null ? {} : { [key]: value }) as { readonly [P in K]?: V };
}

/** Bytes that a report takes in memory and, within a few per cent, on the wire. */
export function sizeOfReport(report: Report): number {
  const { result } = report;
  const texts =
    result.kind === "rollout"
      ? [result.text, result.stopString]
      : result.kind === "verdict"
        ? [result.answer, result.reason]
        : result.kind === "failure"
          ? [result.reason, result.message]
          : [];
  const tokens = result.kind === "rollout" ? (result.tokens?.length ?? 0) : 0;
  const names = [report.sweep, report.task, report.ask, report.job, report.worker, report.host];
  return [...texts, ...names].reduce(
    (bytes, text) => bytes + (text === null ? 0 : Buffer.byteLength(text)),
    128 + 4 * tokens,
  );
}
