/**
 * `prompt_template`: shapes a problem into the prompt that the model sees. `{prompt}`, or any field of the problem:
 * `{id}`, `{reference}`, `{tests}`, `{metadata.x}`. `{{` and `}}` stand for braces themselves.
 */
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import { suggestion } from "../../runtime/nearest.ts";
import type { Problem } from "../sweep.ts";

const FIELDS = ["id", "prompt", "reference", "tests"];
/** A doubled brace, or a field in braces. Any other brace stands for itself: code and LaTeX need no escaping. */
const PLACE = /\{\{|\}\}|\{([A-Za-z_][\w.-]*)\}/g;

/** What is wrong with a template, or null. */
export function checkTemplate(template: string): string | null {
  const fields = templateFields(template);
  const unknown = fields.find((field) => !FIELDS.includes(field) && !field.startsWith("metadata."));
  if (unknown !== undefined) {
    const hint = suggestion(unknown, [...FIELDS, "metadata.<key>"]);
    return `{${unknown}} is not a field of a problem${hint} (write {{${unknown}}} for the text itself)`;
  }
  if (fields.length === 0) return "has no field such as {prompt}: every problem would get the same prompt";
  return null;
}

/** The fields that a template asks for, in their order. */
export function templateFields(template: string): readonly string[] {
  return [...template.matchAll(PLACE)].flatMap(([, field]) => field ?? []);
}

/**
 * The rendered prompt.
 * @throws invalid_argument naming the field which this problem does not have.
 */
export function renderPrompt(template: string, problem: Problem): string {
  return template.replaceAll(PLACE, (place: string, field: string | undefined) => {
    if (field === undefined) return place.slice(0, 1);
    const value = fieldOf(problem, field);
    if (value !== null) return value;
    const message = `problem ${problem.id}: prompt_template asks for {${field}}, which it does not have`;
    throw new CoppiceError("invalid_argument", message);
  });
}

/** The rendered prompt, or why there is none: a problem that lacks a field costs its own task only (I5). */
export function tryRenderPrompt(
  template: string,
  problem: Problem,
): { readonly text: string; readonly error: string | null } {
  try {
    return { text: renderPrompt(template, problem), error: null };
  } catch (error) {
    return { text: "", error: messageOf(error) };
  }
}

/** A field as text; what is not text is written as JSON. Null where the problem has none. */
export function fieldOf(problem: Problem, field: string): string | null {
  const path = field.split(".");
  let value: unknown = problem;
  for (const key of path) {
    const isHolder = typeof value === "object" && value !== null && Object.hasOwn(value, key);
    // Checked just above: a map, or a list, that has this key.
    value = isHolder ? (value as Readonly<Record<string, unknown>>)[key] : undefined;
  }
  if (value === undefined || value === null) return null;
  return typeof value === "string" ? value : JSON.stringify(value);
}
