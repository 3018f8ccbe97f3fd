/** What a probe found of a host, as lines for a person. Pure. What is unknown is said to be. */
import type { ProbeReport } from "../../workers/rollout/drivers/http-host/probe-report.ts";

const NAME_CHARS = 18;

export function hostReportLines(report: ProbeReport): readonly string[] {
  const { facts, missing } = report;
  const rows: readonly (readonly [string, string])[] = [
    ["answers", serverText(report)],
    ["model", facts.model],
    ["context", countText(facts.contextTokens, "tokens")],
    ["KV cache", cacheText(report)],
    ["rollouts at once", concurrencyText(report)],
    ["decode step", stepText(report)],
    ["cached tokens", cachedText(report)],
    ["abort", abortText(report)],
    ["priority", priorityText(report)],
    ["cold siblings", facts.sharesColdPrefixes ? "computed once" : "each computed: one is sent ahead"],
    ["now", readingText(report)],
    ["can", facts.can.length === 0 ? "sample" : `sample, ${facts.can.join(", ")}`],
    ...missing.map(({ what, remedy }) => ["missing", `${what}: ${remedy}`] as const),
  ];
  return rows.map(([name, text]) => `  ${name.padEnd(NAME_CHARS)}${text}`);
}

function serverText({ server, version }: ProbeReport): string {
  const name = server === "other" ? "a server of the completions API" : server;
  return version === null ? name : `${name} ${version}`;
}

function cacheText({ facts }: ProbeReport): string {
  const { kvCapacityTokens, blockTokens } = facts;
  const blocks =
    blockTokens === null
      ? "blocks of unknown size"
      : blockTokens === 1
        ? "used again token by token"
        : `used again in blocks of ${blockTokens}`;
  return `${countText(kvCapacityTokens, "tokens")}, ${blocks}`;
}

function concurrencyText({ facts }: ProbeReport): string {
  const { concurrency, concurrencyMax } = facts;
  if (concurrency === concurrencyMax) return `${concurrency}`;
  return `begins with ${concurrency}, finds its number up to ${concurrencyMax.toLocaleString("en")}`;
}

function stepText({ facts: { stepFloorMs } }: ProbeReport): string {
  if (stepFloorMs === undefined) return "not measured";
  return `${stepFloorMs.toLocaleString("en", { maximumSignificantDigits: 3 })} ms alone`;
}

function cachedText({ facts, repeated }: ProbeReport): string {
  if (!facts.reportsCachedTokens) return "not reported";
  const of = repeated.promptTokens === null ? "" : ` of ${repeated.promptTokens}`;
  return `reported (${repeated.cachedTokens}${of} of a prompt that was asked before)`;
}

function abortText({ abort }: ProbeReport): string {
  switch (abort) {
    case "stops":
      return "stops a rollout whose connection is closed";
    case "goes-on":
      return "GOES ON with a rollout whose connection is closed: look for a proxy in between";
    case "unknown":
      return "unknown: it does not say what it runs, or runs something else";
  }
}

function priorityText({ priority, server }: ProbeReport): string {
  if (priority === null) return "none";
  // Newer releases take a priority without a word, and pass over it, where they order by arrival.
  if (server === "vllm") return "less goes first, if it runs with --scheduling-policy priority";
  return priority === "lower-first" ? "less goes first" : "more goes first (the sign is turned)";
}

function readingText({ reading }: ProbeReport): string {
  if (reading === null) return "it does not say";
  const { running, waiting, kvUsage, preemptions } = reading;
  const share = kvUsage === null ? "unknown" : `${Math.round(kvUsage * 100)}%`;
  return `${running ?? "unknown"} running, ${waiting ?? "unknown"} waiting, KV cache ${share}, ${preemptions ?? "unknown"} preemptions`;
}

function countText(count: number | null, unit: string): string {
  return count === null ? "unknown" : `${count.toLocaleString("en")} ${unit}`;
}
