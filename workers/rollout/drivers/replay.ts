/**
 * The replay engine: recorded rollouts, served like a model's, so that strategies, budgets and stopping rules are tried
 * offline. It never invents a text: what is not on record is an error of that ask.
 *
 * How a record is found. A request for the rendered prompt itself takes the records of its problem; where no record
 * names the problem, those whose `prompt` is the request's, whole. A request for a longer prompt (a step of a search) takes
 * the records whose `prefix` is the content address of that prompt, else those whose `prompt` is the request's, whole: a row
 * of a run that carries neither can serve the first step only.
 */
import type { FileHandle } from "node:fs/promises";
import type { Ability, RolloutResult } from "../../../services/queue/job.ts";
import { CoppiceError, messageOf } from "../../../services/runtime/errors.ts";
import { refuseInability, unable } from "../ability.ts";
import { promptText } from "../prompt.ts";
import type { Driver, SampleAnswer, SampleRequest } from "../driver.ts";
import {
  indexRecords,
  openRecords,
  parseRecord,
  type RecordIndex,
  type RecordKey,
  type RecordLine,
  type RecordPlace,
} from "./replay-index.ts";

export interface ReplayOptions {
  /** Paths of records files (JSONL, formats.md "Records"); `rollouts.jsonl` of a run is one. */
  readonly records: readonly string[];
  /** Asks answered at once. */
  readonly concurrency: number;
}

interface Opened {
  readonly files: readonly { readonly path: string; readonly handle: FileHandle }[];
  readonly index: RecordIndex;
}

/** Files are read through at the first call; `probe` rejects with "invalid_argument" and file:line where one is damaged. */
export function createReplayDriver(options: ReplayOptions): Driver {
  const name = `the replay engine (${options.records.join(", ")})`;
  const closing = new AbortController();
  let opened: Promise<Opened> | null = null;

  const records = (): Promise<Opened> => {
    closing.signal.throwIfAborted();
    opened ??= openAll(options.records, closing.signal);
    return opened;
  };

  async function sample(request: SampleRequest, signal: AbortSignal): Promise<SampleAnswer> {
    signal.throwIfAborted();
    const { files, index } = await records();
    signal.throwIfAborted();
    refuseInability(request.sampling, abilitiesOf(index), name);
    const place = findPlace(index, request, options.records);
    const where = `${files[place.file]?.path}:${place.line}`;
    const record = await readRecord(files[place.file]?.handle, place, where);
    signal.throwIfAborted();
    const answer = answerFrom(record, request, where);
    request.onFirstToken?.();
    return answer;
  }

  async function close(): Promise<void> {
    if (closing.signal.aborted) return;
    closing.abort(new CoppiceError("cancelled", "the replay driver is closed"));
    const all = await opened?.catch(() => null);
    await Promise.all((all?.files ?? []).map((file) => file.handle.close()));
  }

  return {
    engine: "replay",
    signals: async () => null,
    async probe(signal) {
      signal.throwIfAborted();
      const { index } = await records();
      signal.throwIfAborted();
      if (index.count === 0) {
        throw new CoppiceError(
          "invalid_argument",
          `${options.records.join(", ")}: expected at least one record, found none`,
        );
      }
      return {
        model: "*",
        concurrency: options.concurrency,
        concurrencyMax: options.concurrency,
        blockTokens: null,
        sharesColdPrefixes: true,
        kvCapacityTokens: null,
        contextTokens: null,
        reportsCachedTokens: false,
        can: abilitiesOf(index),
      };
    },
    sample,
    async score() {
      throw unable("score", name);
    },
    async likelihood() {
      throw unable("likelihood", name);
    },
    async reward() {
      throw unable("reward", name);
    },
    close,
  };
}

/** Process scores of a run are in its rows too, but a row does not say which judging of which path they were. */
function abilitiesOf(index: RecordIndex): readonly Ability[] {
  return index.hasLogprobs ? ["logprobs"] : [];
}

async function openAll(paths: readonly string[], signal: AbortSignal): Promise<Opened> {
  const files: Opened["files"][number][] = [];
  try {
    for (const path of paths) files.push(await openRecords(path));
    return { files, index: await indexRecords(files, signal) };
  } catch (error) {
    await Promise.all(files.map((file) => file.handle.close()));
    throw error;
  }
}

function findPlace(index: RecordIndex, request: SampleRequest, paths: readonly string[]): RecordPlace {
  const byPrompt: RecordKey = { by: "prompt", value: promptText(request.pieces) };
  const isRoot = (request.depth ?? 0) === 0;
  const first: RecordKey | null = isRoot
    ? { by: "problem", value: request.problem }
    : request.prefix === undefined
      ? null
      : { by: "prefix", value: request.prefix };
  const group = (first === null ? null : index.group(first)) ?? index.group(byPrompt);
  const place = group?.find(request.sample, request.seed) ?? null;
  if (place !== null) return place;
  const what = isRoot ? "" : ` at depth ${request.depth} of its search`;
  throw new CoppiceError(
    "not_found",
    `no record: expected sample ${request.sample} of problem ${JSON.stringify(request.problem)}${what} in ${paths.join(", ")}, ` +
      (group === null ? "found no record of that prompt" : `found ${group.size} records of that prompt`),
  );
}

async function readRecord(
  handle: FileHandle | undefined,
  place: RecordPlace,
  where: string,
): Promise<RecordLine> {
  const buffer = Buffer.alloc(place.bytes);
  let bytesRead = 0;
  try {
    bytesRead = (await handle?.read(buffer, 0, place.bytes, place.offset))?.bytesRead ?? 0;
  } catch (error) {
    throw new CoppiceError("data_loss", `${where}: cannot read the record: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const record = bytesRead === place.bytes ? parseRecord(buffer.toString("utf8"), where) : null;
  if (record === null)
    throw new CoppiceError(
      "data_loss",
      `${where}: expected the record that was indexed, found the file changed`,
    );
  return record;
}

/**
 * A record under the request's sampling: its text ends at the first stop string, as an engine's would. A record longer than
 * `maxTokens` is refused, since serving it would pass what was reserved for it (I3).
 */
function answerFrom(record: RecordLine, request: SampleRequest, where: string): SampleAnswer {
  const { maxTokens, stop } = request.sampling;
  const cut = firstStop(record.text, stop);
  const isCut = cut !== null && cut.end < record.text.length;
  const completionTokens = isCut ? null : record.completionTokens;
  if (completionTokens !== null && completionTokens > maxTokens) {
    throw new CoppiceError(
      "invalid_argument",
      `${where}: expected a record of at most ${maxTokens} tokens (sampling.max_tokens), found one of ${completionTokens}`,
    );
  }
  const endedByStop = cut !== null && (isCut || record.finishReason === "stop");
  const said = record.stopString === undefined || isCut ? undefined : record.stopString;
  const result: RolloutResult = {
    kind: "rollout",
    text: cut === null ? record.text : record.text.slice(0, cut.end),
    finishReason: endedByStop ? "stop" : record.finishReason,
    stopString: said !== undefined ? said : endedByStop ? cut.stop : null,
    // Of a part of a record nobody knows it.
    meanLogprob: request.sampling.logprobs === true && !isCut ? record.meanLogprob : null,
  };
  return { result, usage: { promptTokens: null, cachedTokens: null, completionTokens } };
}

/** The stop string that ends first in the text; of those that end together, the longest. */
function firstStop(
  text: string,
  stops: readonly string[],
): { readonly stop: string; readonly end: number } | null {
  let first: { readonly stop: string; readonly end: number } | null = null;
  for (const stop of stops) {
    const at = stop === "" ? -1 : text.indexOf(stop);
    if (at === -1) continue;
    const end = at + stop.length;
    if (first === null || end < first.end || (end === first.end && stop.length > first.stop.length))
      first = { stop, end };
  }
  return first;
}
