/** The story of a task as a person reads it: why here, why now, what was sent, and what came of it. Absent is not zero (I8). */
import { formatDuration } from "../runtime/duration.ts";
import type { DecisionRow } from "../coordinator/decision-row.ts";
import type { AskEnd, TaskStory } from "../coordinator/task-story.ts";
import { formatCount } from "./count-text.ts";
import { alignColumns } from "./summary-table.ts";

const INDENT = " ".repeat(11);

/** Lines without their ends. */
export function storyLines(story: TaskStory): readonly string[] {
  const { decisions } = story;
  return [
    `${story.task}: ${endWords(story)}`,
    "",
    ...(decisions === null ? NO_DECISIONS : decisionLines(decisions, story)),
    ...unrecordedLines(story),
    "",
    ...totalLines(story),
  ];
}

const NO_DECISIONS = [
  "This run has no decisions.jsonl: the version of Coppice that made it did not write one.",
  "What its journal says of the task:",
];

function endWords({ result, decisions, ends }: TaskStory): string {
  if (result === null)
    return ends.length > 0 || (decisions?.length ?? 0) > 0 ? "not settled yet" : "not opened yet";
  const { state, answer, verdict, score, selection, row } = result;
  const wallMs = typeof row["wall_ms"] === "number" ? ` after ${formatDuration(row["wall_ms"])}` : "";
  const error = typeof row["error"] === "string" ? `: ${row["error"]}` : "";
  if (selection === null) return `${state}${wallMs}, without an answer${error}`;
  const judged = verdict === null ? "not judged" : verdict;
  const scored = score === null ? "" : `, score ${score}`;
  return `${state}${wallMs}; its answer${answer === null ? "" : ` ${answer}`}, chosen by ${selection}, is ${judged}${scored}${error}`;
}

function decisionLines(decisions: readonly DecisionRow[], story: TaskStory): readonly string[] {
  const [first] = decisions;
  if (first === undefined)
    return [
      story.isFull
        ? "decisions.jsonl had reached its limit before this task was opened."
        : "Nothing was decided about it yet.",
    ];
  const ends = endsByAsk(story);
  const sends = decisions.filter(({ kind }) => kind !== "hedged");
  const lastSend = new Map(sends.flatMap((row) => row.asks.map((ask) => [ask, row] as const)));
  const lines: string[] = [];
  let attempt: number | null = null;
  const housed = new Set<string>();
  for (const row of decisions) {
    if (row.attempt !== attempt) lines.push(attemptLine(row));
    attempt = row.attempt;
    if (row.skipped > 0)
      lines.push(`${INDENT}(${plural(row.skipped, "group")} of asks sent in between left out of the file)`);
    lines.push(`${timeOf(row, first)}${decisionWords(row, housed.has(row.model))}`, ...candidateLines(row));
    if (row.kind === "placed") housed.add(row.model);
    if (row.kind === "hedged") lines.push(`${INDENT}${raceWords(row, ends)}`);
    else if (row.asks.length > 0) lines.push(...sendLines(row, { ends, lastSend }));
  }
  if (story.isFull) lines.push("decisions.jsonl has reached its limit: what came later is not in it.");
  if (story.damagedLines > 0)
    lines.push(`${plural(story.damagedLines, "line")} of decisions.jsonl cannot be read.`);
  return lines;
}

function attemptLine({ attempt, at_ms }: DecisionRow): string {
  return `attempt ${attempt} at the run, ${new Date(at_ms).toISOString()}`;
}

function timeOf(row: DecisionRow, first: DecisionRow): string {
  return `+${formatDuration(Math.max(0, row.at_ms - first.at_ms))}`.padStart(9).padEnd(INDENT.length);
}

function decisionWords(row: DecisionRow, isAgain: boolean): string {
  const { kind, host, home, model } = row;
  switch (kind) {
    case "placed":
      return `${isAgain ? "placed anew at" : "opened at"} ${host} (${model}): ${reasonWords(row)}; room for ${asks(row.room)} there`;
    case "moved":
      return `moved from ${home ?? "nowhere"} to ${host}: ${reasonWords(row)}`;
    case "sent":
      return `${groupWords(row)} sent to ${host}: ${reasonWords(row)}`;
    case "lent":
      return `${groupWords(row)} lent to ${host}, away from home at ${home ?? "nowhere"}: ${reasonWords(row)}`;
    case "hedged":
      return `${row.asks.join(", ")} sent to ${host} too: ${reasonWords(row)}`;
    case "retried":
      return `${row.asks.join(", ")} sent to ${host} instead: ${reasonWords(row)}`;
    default:
      return `${kind} at ${host}: ${row.reason}`;
  }
}

function reasonWords({ reason, host, home, in_flight, room }: DecisionRow): string {
  switch (reason) {
    case "least-wait":
      return "of the hosts that can serve it, it begins soonest there";
    case "holds-prefix":
      return "it holds so much of the path that waiting for it costs less than computing that again elsewhere";
    case "oldest-tree":
      return `of the tasks there that may run the oldest with asks waiting; ${asks(in_flight)} ran, room for ${formatCount(room)} more`;
    case "least-asked":
      return `no task was left to open, and of the tasks there with asks waiting it has asked least; ${asks(in_flight)} ran, room for ${formatCount(room)} more`;
    case "host-idle":
      return "nothing else ran there, and a host does not idle for the sake of its cache";
    case "home-gone":
      return "the host that was its home is gone";
    case "host-dry":
      return `${host} had run dry, and computing the path there costs less than waiting at ${home ?? "home"}`;
    case "evens-out":
      return `no task was left to open, and ${home ?? "its home"} had far more to do than ${host}`;
    case "host-slow":
      return "it waited too long at its host, which is slower than others or does not answer, and nothing waits here";
    case "host-failed":
      return "it failed at the host that had it, and of the others that could serve it this one can begin soonest";
    default:
      return reason;
  }
}

function groupWords({ asks: sent, ask_kind, depth }: DecisionRow): string {
  const what = ask_kind === "verify" ? plural(sent.length, "verification") : plural(sent.length, "sample");
  return `${what}${depth === null ? "" : ` at depth ${depth}`}`;
}

/** What it would have waited for, and computed, where. */
function candidateLines({ considered, host, prompt_tokens }: DecisionRow): readonly string[] {
  if (considered.length === 0) return [];
  const header = ["  host", "would wait", "would compute", "should hold", "load"];
  const rows = considered.map((each) => [
    `${each.host === host ? "> " : "  "}${each.host}`,
    formatDuration(each.wait_ms),
    formatDuration(each.prefill_ms),
    `${formatCount(each.cached_tokens)} of ${plural(prompt_tokens, "token")}`,
    each.load.toFixed(2),
  ]);
  return alignColumns([header, ...rows]).map((line) => `${INDENT}${line}`);
}

interface Ends {
  readonly ends: ReadonlyMap<string, AskEnd>;
  /** The last send of each ask. */
  readonly lastSend: ReadonlyMap<string, DecisionRow>;
}

function sendLines(row: DecisionRow, { ends, lastSend }: Ends): readonly string[] {
  const mine = row.asks.filter((ask) => lastSend.get(ask) === row);
  const ended = mine.flatMap((ask) => ends.get(ask) ?? []);
  const again = row.asks.length - mine.length;
  const open = mine.length - ended.length;
  const parts = [
    ...endCounts(ended),
    ...(again > 0 ? [`${formatCount(again)} came back and were sent again`] : []),
    ...(open > 0 ? [`${formatCount(open)} without an answer so far`] : []),
  ];
  return [`${INDENT}${cacheWords(row, ends)}`, `${INDENT}${parts.join(", ")}`];
}

/** Which of the two that have the ask answered. */
function raceWords({ asks: sent, host }: DecisionRow, ends: ReadonlyMap<string, AskEnd>): string {
  const end = ends.get(sent[0] ?? "");
  if (end === undefined) return "neither has answered so far";
  if (end.end !== "answered") return `neither answered: ${endCounts([end]).join()}`;
  return `${end.host ?? "nobody"} answered first${end.host === host ? "" : ": the copy was in vain"}`;
}

/** Predicted is the first of the group: those behind it find what it computed. */
function cacheWords(row: DecisionRow, ends: ReadonlyMap<string, AskEnd>): string {
  const answered = row.asks.map((ask) => ends.get(ask)).filter((end) => end?.end === "answered");
  const [lead] = row.asks;
  const first = lead === undefined ? undefined : ends.get(lead);
  const rest = answered.filter((end) => end !== first).flatMap((end) => end ?? []);
  const predicted = `of ${plural(row.prompt_tokens, "prompt token")} ${formatCount(row.cached_tokens)} predicted cached`;
  const reported = first?.end === "answered" ? `, ${tokens(first.cached_tokens)} reported` : "";
  if (rest.length === 0) return `${predicted}${reported}`;
  const [cached, prompt] = [sum(rest, "cached_tokens"), sum(rest, "prompt_tokens")];
  return `${predicted}${reported}; the ${formatCount(rest.length)} behind it: ${tokens(cached)} of ${tokens(prompt)} reported cached`;
}

/** `14 answered (2 at a later try), 1 withdrawn, 1 lost (why)`. */
function endCounts(ended: readonly AskEnd[]): readonly string[] {
  const answered = ended.filter(({ end }) => end === "answered");
  const retried = answered.filter(({ attempt }) => (attempt ?? 1) > 1).length;
  const withdrawn = ended.filter(({ end }) => end === "withdrawn").length;
  const lost = ended.filter(({ end }) => end === "lost");
  const why = new Set(lost.map(({ message }) => message ?? "no reason was given"));
  return [
    ...(answered.length > 0
      ? [
          `${formatCount(answered.length)} answered${retried > 0 ? ` (${formatCount(retried)} at a later try)` : ""}`,
        ]
      : []),
    ...(withdrawn > 0 ? [`${formatCount(withdrawn)} withdrawn`] : []),
    ...(lost.length > 0 ? [`${formatCount(lost.length)} lost (${[...why].join("; ")})`] : []),
  ];
}

/** Asks that no line of the file sent: those for verifiers, and those that it leaves out. */
function unrecordedLines({ decisions, ends }: TaskStory): readonly string[] {
  const sent = new Set((decisions ?? []).flatMap((row) => row.asks));
  const others = ends.filter(({ ask, end }) => !sent.has(ask) && end !== "copy");
  const judged = others.filter(({ answer, host }) => answer === "verdict" && host === null);
  const rest = others.filter((end) => !judged.includes(end));
  const verdicts = ["correct", "incorrect", "undecided"].flatMap((word) => {
    const count = judged.filter(({ verdict }) => verdict === word).length;
    return count === 0 ? [] : [`${formatCount(count)} ${word}`];
  });
  return [
    ...(judged.length === 0
      ? []
      : [`${INDENT}${plural(judged.length, "verification")} off the hosts: ${verdicts.join(", ")}`]),
    ...(rest.length === 0
      ? []
      : [`${INDENT}${asks(rest.length)} whose sending is not recorded: ${endCounts(rest).join(", ")}`]),
  ];
}

/** What each ask came to, whatever became of copies. */
function endsByAsk({ ends }: Pick<TaskStory, "ends">): ReadonlyMap<string, AskEnd> {
  return new Map(ends.filter(({ end }) => end !== "copy").map((end) => [end.ask, end]));
}

function totalLines({ decisions, ends }: TaskStory): readonly string[] {
  const rollouts = ends.filter(({ answer }) => answer === "rollout");
  const [prompt, cached] = [sum(rollouts, "prompt_tokens"), sum(rollouts, "cached_tokens")];
  const byAsk = endsByAsk({ ends });
  const firsts = (decisions ?? []).flatMap((row) => {
    if (row.kind === "hedged") return [];
    const end = byAsk.get(row.asks[0] ?? "");
    return end?.end === "answered" ? [{ predicted: row.cached_tokens, end }] : [];
  });
  const predicted = firsts.reduce((total, each) => total + each.predicted, 0);
  const seen = sum(
    firsts.map(({ end }) => end),
    "cached_tokens",
  );
  return [
    `${plural(rollouts.length, "rollout")}: ${tokens(prompt)} prompt tokens, ${tokens(cached)} of them reported cached`,
    ...(firsts.length === 0
      ? []
      : [
          `prefill, first ask of ${plural(firsts.length, "group")}: ${formatCount(predicted)} tokens predicted cached, ${tokens(seen)} reported`,
        ]),
  ];
}

function sum(ends: readonly AskEnd[], key: "prompt_tokens" | "cached_tokens"): number | null {
  return ends.reduce<number | null>((total, end) => {
    const value = end[key];
    return total === null || value === null ? null : total + value;
  }, 0);
}

function tokens(count: number | null): string {
  return count === null ? "unknown" : formatCount(count);
}

function asks(count: number): string {
  return plural(count, "ask");
}

function plural(count: number, one: string): string {
  return `${formatCount(count)} ${one}${count === 1 ? "" : "s"}`;
}
