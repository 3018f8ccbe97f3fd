/**
 * What a person sees while a sweep runs: events as JSON lines (`--json`), a live line on a terminal, and elsewhere a
 * heartbeat every ten seconds, also when nothing moves.
 */
import { formatDuration } from "../runtime/duration.ts";
import type { Timer } from "../runtime/clock.ts";
import type { SweepEvent, SweepStatus } from "../coordinator/status.ts";
import { progressLine, type Pace } from "./progress-line.ts";
import type { Shell } from "./shell.ts";

export const HEARTBEAT_MS = 10_000;
const REDRAW_MS = 200;
/** A program gets a status no more often than this, unless the state has changed. */
const JSON_STATUS_MS = 2_000;
/** Tokens per second are taken over the last so many milliseconds. */
const PACE_WINDOW_MS = 10_000;

export type ProgressMode = "json" | "live" | "heartbeat";

export interface Progress {
  /** Give it every event of the sweep. */
  event(event: SweepEvent): void;
  /** Takes the live line away; no more lines follow. */
  stop(): void;
}

export function createProgress(shell: Shell, mode: ProgressMode): Progress {
  const { clock } = shell;
  const samples: { readonly atMs: number; readonly tokens: number | null }[] = [];
  let last: SweepStatus | null = null;
  let lastEventMs = clock.monotonicMs();
  let lastJsonStatusMs = -Infinity;
  let isStopped = false;
  let timer: Timer | null = null;

  function draw(): void {
    if (isStopped) return;
    const line = last === null ? "waiting for the first status" : progressLine(last, pace());
    if (mode === "live") shell.redraw(line.slice(0, Math.max(10, shell.columns() - 1)));
    else if (mode === "heartbeat") shell.out(`${line}${silence()}`);
    schedule();
  }

  /** A coordinator that has gone silent is told apart from one that has nothing to tell. */
  function silence(): string {
    const silentMs = clock.monotonicMs() - lastEventMs;
    return silentMs < HEARTBEAT_MS ? "" : ` | no word for ${formatDuration(silentMs)}`;
  }

  function schedule(): void {
    if (mode !== "json") timer = clock.after(mode === "live" ? REDRAW_MS : HEARTBEAT_MS, draw);
  }

  function pace(): Pace {
    const [first, newest] = [samples[0], samples.at(-1)];
    if (first === undefined || newest === undefined || first.tokens === null || newest.tokens === null)
      return { tokensPerSecond: null };
    const seconds = (newest.atMs - first.atMs) / 1_000;
    return { tokensPerSecond: seconds <= 0 ? null : (newest.tokens - first.tokens) / seconds };
  }

  function remember(status: SweepStatus): void {
    last = status;
    const atMs = clock.monotonicMs();
    samples.push({ atMs, tokens: status.usage.completion_tokens });
    while (samples.length > 2 && (samples[1]?.atMs ?? atMs) <= atMs - PACE_WINDOW_MS) samples.shift();
  }

  function isTooSoon(event: SweepEvent): boolean {
    if (event.kind !== "status") return false;
    const isSame = last?.state === event.status.state;
    if (isSame && clock.monotonicMs() - lastJsonStatusMs < JSON_STATUS_MS) return true;
    lastJsonStatusMs = clock.monotonicMs();
    return false;
  }

  schedule();
  return {
    event(event) {
      if (isStopped) return;
      lastEventMs = clock.monotonicMs();
      if (mode === "json" && !isTooSoon(event)) shell.out(JSON.stringify(event));
      if (event.kind === "status") remember(event.status);
      if (event.kind === "log" && mode !== "json") shell.say(`${event.level}: ${event.message}`);
    },
    stop() {
      isStopped = true;
      timer?.cancel();
      if (mode === "live") shell.redraw("");
    },
  };
}

/** `--json` says so; otherwise it depends on who looks. */
export function progressMode(shell: Shell, isJson: boolean): ProgressMode {
  if (isJson) return "json";
  return shell.isTerminal ? "live" : "heartbeat";
}
