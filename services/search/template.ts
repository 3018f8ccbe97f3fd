/** Prompts from templates: what strategies that talk to the model about its own answers write. Pure. */
import { writePrompt } from "./operations.ts";
import { textOf } from "./prefix.ts";
import type { Prefix, Program } from "./program.ts";

const FIELD = /\{([a-z_][a-z0-9_]*)\}/gu;
/** What a field may be called. */
export const FIELD_NAME = /^[a-z_][a-z0-9_]*$/u;
const PROMPT_FIRST = "{prompt}";

/** `{name}` replaced by its value, once: what a value contains is not filled again. A name without a value stays as it is. */
export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replaceAll(FIELD, (field, name: string) =>
    Object.hasOwn(values, name) ? (values[name] ?? field) : field,
  );
}

/** The names that a template refers to, in their order, each once. */
export function fieldsOf(template: string): readonly string[] {
  return [...new Set([...template.matchAll(FIELD)].map(([, name = ""]) => name))];
}

/** For `check`: what the template of a parameter lacks; null when it refers to each of `fields`. */
export function complaintAboutFields(
  parameter: string,
  template: string,
  fields: readonly string[],
): string | null {
  const known = fieldsOf(template);
  const missing = fields.find((field) => !known.includes(field));
  return missing === undefined
    ? null
    : `${parameter}: expected a template with {${missing}}, found ${known.length === 0 ? "no field" : `only {${known.join("}, {")}}`}`;
}

/**
 * A filled template as a path to sample from. `{prompt}` is the problem's rendered prompt. A template that begins with it
 * continues that prompt, so hosts share what they have computed of it; another is a prompt of its own.
 */
export function* pathFrom(
  template: string,
  prompt: Prefix,
  values: Readonly<Record<string, string>> = {},
): Program<Prefix> {
  if (template.startsWith(PROMPT_FIRST)) {
    const rest = template.slice(PROMPT_FIRST.length);
    return prompt.extend(fillTemplate(rest, { ...values, prompt: textOf(prompt) }));
  }
  return yield* writePrompt(fillTemplate(template, { ...values, prompt: textOf(prompt) }));
}
