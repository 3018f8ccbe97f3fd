/**
 * The sweep file, read and checked whole: every complaint at once, each with its line. What passes is made into a
 * `Sweep` by sweep-resolve.ts; behind that nothing is checked again.
 */
import { LineCounter, type Document, isMap, isNode, isPair, isScalar, isSeq, parseDocument } from "yaml";
import { CoppiceError } from "../../runtime/errors.ts";
import { type Complaint, type KeyPath, complaintsOf, pathText } from "./sweep-complaint.ts";
import { type Override, applyOverrides } from "./sweep-override.ts";
import { checkMeaning } from "./sweep-meaning.ts";
import { type Catalogue, type SweepFile, sweepSchema } from "./sweep-schema.ts";

const COMPLAINTS_SHOWN_MAX = 50;

export interface ParseOptions {
  /** What messages call the file. */
  readonly file: string;
  readonly catalogue: Catalogue;
  /** `--set` flags, as typed. */
  readonly overrides?: readonly string[];
  /** What paths in `overrides` are relative to; by default the working directory's "." */
  readonly cwd?: string;
}

/**
 * @returns The file with the defaults of its sections filled in.
 * @throws invalid_argument with every complaint, one line each: `sweep.yaml:12: budget.rolouts: unknown key; ...`.
 */
export function parseSweepFile(text: string, options: ParseOptions): SweepFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0)
    throw refusal(document.errors.map((error) => brokenYaml(error, lines, options.file)));
  const raw: unknown = document.toJS();
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
    throw new CoppiceError(
      "invalid_argument",
      `${options.file}: expected a map of keys such as "problems" and "strategies"`,
    );
  }
  const overrides = applyOverrides(raw, options.overrides ?? [], options.cwd ?? ".");
  const parsed = sweepSchema(options.catalogue).safeParse(raw);
  const complaints = [
    ...complaintsOf(parsed.error?.issues ?? [], raw),
    ...checkMeaning(raw, options.catalogue),
  ];
  if (parsed.success && complaints.length === 0) return parsed.data;
  const place = createPlacer(document, lines, options.file, overrides);
  throw refusal(complaints.map((complaint) => place(complaint)));
}

interface Placed {
  readonly line: number;
  readonly text: string;
}

function refusal(placed: readonly Placed[]): CoppiceError {
  const sorted = placed.toSorted((a, b) => a.line - b.line);
  const shown = sorted.slice(0, COMPLAINTS_SHOWN_MAX).map(({ text }) => text);
  const rest = sorted.length - shown.length;
  if (rest > 0) shown.push(`... and ${rest} more`);
  return new CoppiceError("invalid_argument", shown.join("\n"));
}

function brokenYaml(
  error: { readonly message: string; readonly pos: readonly [number, number] },
  lines: LineCounter,
  file: string,
): Placed {
  const { line, col } = lines.linePos(error.pos[0]);
  return { line, text: `${file}:${line}:${col}: not YAML: ${error.message}` };
}

/** Puts each complaint at its line, or at the flag that brought it. */
function createPlacer(
  document: Document.Parsed,
  lines: LineCounter,
  file: string,
  overrides: readonly Override[],
) {
  return ({ path, message }: Complaint): Placed => {
    const flag = overrides.findLast(({ path: set }) =>
      set.every((key, i) => path[i] === undefined || path[i] === key),
    );
    const isSet =
      flag !== undefined && path.length > 0 && (path.length >= flag.path.length || isNewIn(document, path));
    if (isSet) return { line: 0, text: `--set ${flag.given}: ${pathText(path)}: ${message}` };
    const line = lines.linePos(offsetOf(document, path)).line;
    return { line, text: `${file}:${line}: ${path.length === 0 ? "" : `${pathText(path)}: `}${message}` };
  };
}

function isNewIn(document: Document.Parsed, path: KeyPath): boolean {
  return document.getIn([...path], true) === undefined;
}

/** Where in the text the deepest part of the path stands that the file has. */
function offsetOf(document: Document.Parsed, path: KeyPath): number {
  let node: unknown = document.contents;
  let offset = rangeStart(node) ?? 0;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(key),
      );
      if (pair === undefined) break;
      offset = rangeStart(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(key)];
      offset = rangeStart(node) ?? offset;
    } else break;
  }
  return offset;
}

function rangeStart(node: unknown): number | null {
  return isNode(node) ? (node.range?.[0] ?? null) : null;
}
