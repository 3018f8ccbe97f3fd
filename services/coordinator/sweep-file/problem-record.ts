/** Records of a problem file, as they stand: each with its place, broken ones with what is broken. One at a time (I6). */
import { readFile, stat } from "node:fs/promises";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import { readLines } from "../../runtime/lines.ts";

export type RawRecord = {
  /** Line number, or position from 1: what tells the records of one source apart. */
  readonly place: number;
  /** Names the place where a line number does not. */
  readonly placeText?: string;
} & (
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "broken"; readonly message: string }
);

/** A line, or a CSV record, may be so long. */
const RECORD_BYTES_MAX = 16 * 1024 * 1024;
/** A JSON file is held whole, so it may be so large; JSON Lines have no such limit. */
const JSON_BYTES_MAX = 256 * 1024 * 1024;

/** One JSON value per line; blank lines are passed over. */
export async function* readJsonLines(path: string): AsyncGenerator<RawRecord> {
  let place = 0;
  for await (const line of decodedLines(path)) {
    place += 1;
    if (line.kind === "broken") yield { place, ...line };
    else if (line.text.trim() !== "") yield { place, ...parseJson(line.text) };
  }
}

/** A list of problems in one JSON file. */
export async function* readJson(path: string, file: string): AsyncGenerator<RawRecord> {
  const { size } = await stat(path);
  if (size > JSON_BYTES_MAX) {
    const message = `${file}: a JSON file of at most ${JSON_BYTES_MAX} bytes was expected, found ${size}; use JSON Lines`;
    throw new CoppiceError("invalid_argument", message);
  }
  const whole = decode(await readFile(path));
  const parsed = whole.kind === "broken" ? whole : parseJson(whole.text);
  if (parsed.kind === "broken") throw new CoppiceError("invalid_argument", `${file}: ${parsed.message}`);
  if (!Array.isArray(parsed.value))
    throw new CoppiceError("invalid_argument", `${file}: expected a list of problems`);
  for (const [i, value] of parsed.value.entries())
    yield { place: i + 1, placeText: `${file}[${i}]`, kind: "value", value };
}

const PROBLEM_COLUMNS: ReadonlySet<string> = new Set(["id", "prompt", "messages", "reference", "tests"]);

/** RFC 4180 with a header line. Columns that a problem does not have become its metadata; an empty field is absent. */
export async function* readCsv(path: string): AsyncGenerator<RawRecord> {
  let header: readonly string[] | null = null;
  for await (const { line, fields, broken } of readCsvRows(path)) {
    if (broken === null && header === null) {
      header = fields.map((field) => field.trim());
      continue;
    }
    if (broken !== null || header === null)
      yield { place: line, kind: "broken", message: broken ?? "no header" };
    else if (fields.length === header.length)
      yield { place: line, kind: "value", value: csvProblem(header, fields) };
    else {
      const message = `expected ${header.length} fields as in the header, found ${fields.length}`;
      yield { place: line, kind: "broken", message };
    }
  }
}

function csvProblem(header: readonly string[], fields: readonly string[]): unknown {
  const filled = header
    .map((column, i) => [column, fields[i] ?? ""] as const)
    .filter(([, field]) => field !== "");
  const own = filled.filter(([column]) => PROBLEM_COLUMNS.has(column));
  const other = filled.filter(([column]) => !PROBLEM_COLUMNS.has(column));
  return { ...Object.fromEntries(own), metadata: Object.fromEntries(other) };
}

interface CsvRow {
  /** Where the record begins: one record may have several lines. */
  readonly line: number;
  readonly fields: readonly string[];
  /** What is wrong with it; its fields are then empty. */
  readonly broken: string | null;
}

async function* readCsvRows(path: string): AsyncGenerator<CsvRow> {
  let place = 0;
  let open: string[] = [];
  let openChars = 0;
  for await (const line of decodedLines(path)) {
    place += 1;
    if (line.kind === "broken") {
      yield { line: place - open.length, fields: [], broken: line.message };
      [open, openChars] = [[], 0];
      continue;
    }
    const togglesQuote = line.text.split('"').length % 2 === 0;
    const isOpen = togglesQuote !== open.length > 0;
    open.push(line.text);
    openChars += line.text.length;
    if (isOpen && openChars <= RECORD_BYTES_MAX) continue;
    const record = open.join("\n");
    const first = place - open.length + 1;
    if (isOpen) yield { line: first, fields: [], broken: NEVER_CLOSED };
    else if (record !== "") yield { line: first, fields: splitCsv(record), broken: null };
    [open, openChars] = [[], 0];
  }
  if (open.length > 0) yield { line: place - open.length + 1, fields: [], broken: NEVER_CLOSED };
}

const NEVER_CLOSED = "a quotation mark is opened and never closed";

/** The fields of a whole record; a quoted field may hold commas, line ends and doubled quotation marks. */
function splitCsv(record: string): readonly string[] {
  const fields: string[] = [];
  let from = 0;
  while (from <= record.length) {
    const quoted = record[from] === '"' ? /"((?:[^"]|"")*)"/y : null;
    if (quoted !== null) quoted.lastIndex = from;
    const match = quoted?.exec(record) ?? null;
    if (match === null) {
      const comma = record.indexOf(",", from);
      const end = comma < 0 ? record.length : comma;
      fields.push(record.slice(from, end));
      from = end + 1;
    } else {
      const end = from + match[0].length;
      const comma = record.indexOf(",", end);
      const tail = comma < 0 ? record.length : comma;
      fields.push((match[1] ?? "").replaceAll('""', '"') + record.slice(end, tail));
      from = tail + 1;
    }
  }
  return fields;
}

type Parsed =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "broken"; readonly message: string };

function parseJson(text: string): Parsed {
  try {
    const value: unknown = JSON.parse(text);
    return { kind: "value", value };
  } catch (error) {
    return { kind: "broken", message: `not JSON: ${messageOf(error)}` };
  }
}

type Decoded =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "broken"; readonly message: string };

async function* decodedLines(path: string): AsyncGenerator<Decoded> {
  for await (const { bytes } of readLines(path, { name: path, bytesMax: RECORD_BYTES_MAX }))
    yield decode(bytes);
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** The byte order mark is left out. */
function decode(bytes: Buffer): Decoded {
  try {
    const text = UTF8.decode(bytes);
    return { kind: "text", text: text.endsWith("\r") ? text.slice(0, -1) : text };
  } catch {
    return { kind: "broken", message: "not UTF-8" };
  }
}
