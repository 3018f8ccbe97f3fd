/**
 * Problems: read from JSON Lines, JSON, CSV or the sweep itself, and checked whole before anything is spent.
 *
 * Reading goes record by record (I6); only the check keeps something per problem, its id, to see that ids differ, and
 * lets go of it when it is done. What the check left out (`invalid`) the reading leaves out too.
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { z } from "zod";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import { suggestion } from "../../runtime/nearest.ts";
import { fieldOf } from "./prompt-template.ts";
import { type RawRecord, readCsv, readJson, readJsonLines } from "./problem-record.ts";
import { type Complaint, complaintsOf, pathText } from "./sweep-complaint.ts";
import type { ProblemSource } from "./sweep-resolve.ts";
import type { Problem } from "../sweep.ts";

const COMPLAINTS_SHOWN_MAX = 20;
const ID_CHARS_MAX = 200;
const KEYS = ["id", "prompt", "messages", "reference", "tests", "metadata"];
const READERS: Readonly<Record<string, (path: string, file: string) => AsyncIterable<RawRecord>>> = {
  ".jsonl": readJsonLines,
  ".ndjson": readJsonLines,
  ".json": readJson,
  ".csv": readCsv,
};

export interface ProblemOptions {
  /** What messages call the file. */
  readonly file: string;
  /** Fields that the prompt template asks for (`templateFields`): a problem without one is not valid. */
  readonly fields: readonly string[];
}

/** What the check found. */
export interface ProblemCheck {
  /** Valid problems. */
  readonly count: number;
  /** Places (line numbers, or positions from 1) of those that are not. */
  readonly invalid: ReadonlySet<number>;
  /** One line each, the first few; `complaintText` adds how many more there are. */
  readonly complaints: readonly string[];
  /** Over the valid problems, in their order and canonical form. */
  readonly sha256: string;
  /** The first valid problem: its prompt is shown before anything is spent. */
  readonly first: Problem | null;
}

/**
 * Reads every problem once.
 * @throws not_found or invalid_argument when there is nothing to read or the kind of file is not known.
 */
export async function checkProblems(source: ProblemSource, options: ProblemOptions): Promise<ProblemCheck> {
  const firstPlaces = new Map<string, string>();
  const invalid = new Set<number>();
  const complaints: string[] = [];
  const hash = createHash("sha256");
  let count = 0;
  let first: Problem | null = null;
  for await (const record of readRecords(source, options.file)) {
    const parsed = parseRecord(record, options);
    const earlier = parsed.kind === "valid" ? firstPlaces.get(parsed.problem.id) : undefined;
    const messages =
      parsed.kind === "invalid" ? parsed.messages : earlier === undefined ? [] : [duplicate(parsed, earlier)];
    if (messages.length > 0 || parsed.kind === "invalid") {
      invalid.add(record.place);
      for (const message of messages) {
        if (complaints.length < COMPLAINTS_SHOWN_MAX)
          complaints.push(`${at(record, options.file)}: ${message}`);
      }
      continue;
    }
    firstPlaces.set(parsed.problem.id, at(record, options.file));
    hash.update(JSON.stringify(canonical(parsed.problem))).update("\n");
    first ??= parsed.problem;
    count += 1;
  }
  return { count, invalid, complaints, sha256: hash.digest("hex"), first };
}

/** Every complaint of a check as one text. */
export function complaintText(check: ProblemCheck): string {
  const named = new Set(check.complaints.map((line) => line.split(": ")[0])).size;
  const rest = check.invalid.size - named;
  return [...check.complaints, ...(rest > 0 ? [`... and ${rest} more`] : [])].join("\n");
}

/**
 * The valid problems, one by one. @param check What `checkProblems` said of the same source.
 * @throws data_loss when the file has changed since and a problem is no longer valid.
 */
export async function* readProblems(
  source: ProblemSource,
  check: ProblemCheck,
  options: ProblemOptions,
): AsyncGenerator<Problem> {
  for await (const record of readRecords(source, options.file)) {
    if (check.invalid.has(record.place)) continue;
    const parsed = parseRecord(record, options);
    if (parsed.kind === "valid") yield parsed.problem;
    else
      throw new CoppiceError(
        "data_loss",
        `${at(record, options.file)}: changed while it was read: ${parsed.messages[0]}`,
      );
  }
}

async function* readRecords(source: ProblemSource, file: string): AsyncGenerator<RawRecord> {
  if (typeof source !== "string") {
    for (const [i, value] of source.entries())
      yield { place: i + 1, placeText: `problems.${i}`, kind: "value", value };
    return;
  }
  const extension = extname(source).toLowerCase();
  const read = READERS[extension];
  if (read === undefined) {
    const available = Object.keys(READERS).join(", ");
    const found = extension === ".parquet" ? "Parquet is" : `files ending in "${extension}" are`;
    throw new CoppiceError(
      "invalid_argument",
      `${file}: ${found} not available in this version; available: ${available}`,
    );
  }
  await refuseMissing(source, file);
  yield* read(source, file);
}

async function refuseMissing(path: string, file: string): Promise<void> {
  try {
    const found = await stat(path);
    if (found.isFile()) return;
  } catch (error) {
    const message = `${file}: cannot read the problems: ${messageOf(error)}`;
    throw new CoppiceError("not_found", message, { cause: error });
  }
  throw new CoppiceError("not_found", `${file}: cannot read the problems: it is not a file`);
}

function at(record: RawRecord, file: string): string {
  return record.placeText ?? `${file}:${record.place}`;
}

function duplicate({ problem }: { readonly problem: Problem }, earlier: string): string {
  return `the id "${problem.id}" stands at ${earlier} too; ids must be unique`;
}

type Parsed =
  | { readonly kind: "valid"; readonly problem: Problem }
  | { readonly kind: "invalid"; readonly messages: readonly string[] };

const identifier = z.union([z.string().min(1).max(ID_CHARS_MAX), z.int().transform(String)]);
const text = z.union([z.string(), z.number().transform(String)], { error: () => "expected a text" });

const problemSchema = z.strictObject(
  {
    id: identifier.nullish(),
    prompt: z.string().min(1),
    reference: text.nullish(),
    tests: z.string().nullish(),
    metadata: z.record(z.string(), z.unknown()).nullish(),
  },
  {
    error: (issue) => {
      if (issue.code !== "unrecognized_keys") return undefined;
      return issue.keys
        .map((key) => `unknown key${suggestion(key, KEYS)} (other fields go under "metadata")`)
        .join("\n");
    },
  },
);

function parseRecord(record: RawRecord, options: ProblemOptions): Parsed {
  if (record.kind === "broken") return { kind: "invalid", messages: [record.message] };
  const value = record.value;
  if (typeof value === "object" && value !== null && "messages" in value) {
    return { kind: "invalid", messages: [chatComplaint(value)] };
  }
  const parsed = problemSchema.safeParse(value);
  if (!parsed.success)
    return { kind: "invalid", messages: complaintsOf(parsed.error.issues, value).map(complaintLine) };
  const content = {
    prompt: parsed.data.prompt,
    reference: parsed.data.reference ?? null,
    tests: parsed.data.tests ?? null,
    metadata: parsed.data.metadata ?? {},
  };
  const problem: Problem = { id: parsed.data.id ?? derivedId(content), ...content };
  const missing = options.fields.filter((field) => fieldOf(problem, field) === null);
  if (missing.length === 0) return { kind: "valid", problem };
  return {
    kind: "invalid",
    messages: missing.map((field) => `prompt_template asks for {${field}}, which is missing`),
  };
}

function chatComplaint(value: object): string {
  if ("prompt" in value) return `expected exactly one of "prompt" and "messages", found both`;
  return `chat problems ("messages") are not available in this version; give "prompt"`;
}

function complaintLine({ path, message }: Complaint): string {
  return path.length === 0 ? message : `${pathText(path)}: ${message}`;
}

/** The same for the same content, on every run and whatever stands around it. */
function derivedId(content: Omit<Problem, "id">): string {
  return `p-${createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 16)}`;
}

function canonical({ id, prompt, reference, tests, metadata }: Problem): unknown {
  return { id, prompt, reference, tests, metadata };
}
