/** Strategies of the user's own, as a sweep names them and as their modules declare them. */
import { parse } from "yaml";
import { z } from "zod";
import { type Complaint, complaintsOf, valueAt } from "./sweep-complaint.ts";

/** A sweep's `strategy` that is a path and no name. */
export const MODULE_PATH = /\.[cm]?[jt]s$/u;
const MODULES_MAX = 64;

/** The modules that a sweep's text names. A text that is no sweep names none: whoever parses it will say so. */
export function modulePathsIn(text: string): readonly string[] {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch {
    return [];
  }
  const arms = valueAt(raw, ["strategies"]);
  if (!Array.isArray(arms)) return [];
  const names = arms.map((arm: unknown) => valueAt(arm, ["strategy"]));
  const paths = names.filter((name) => typeof name === "string").filter((name) => MODULE_PATH.test(name));
  return [...new Set(paths)].slice(0, MODULES_MAX);
}

/** What is wrong with what a module exports as `strategy`. */
export function complaintsOfStrategy(found: unknown): readonly Complaint[] {
  return complaintsOf(STRATEGY.safeParse(found).error?.issues ?? [], found);
}

const about = z.string();
const numeric = { min: z.number(), max: z.number(), default: z.number(), about };
const parameter = z.discriminatedUnion("type", [
  z.object({ type: z.literal("integer"), ...numeric }),
  z.object({ type: z.literal("number"), ...numeric }),
  z.object({ type: z.literal("choice"), choices: z.array(z.string()).min(1), default: z.string(), about }),
  z.object({ type: z.literal("strings"), default: z.array(z.string()), about }),
  z.object({ type: z.literal("text"), default: z.string(), about }),
  z.object({
    type: z.literal("texts"),
    default: z.record(z.string(), z.string()),
    max: z.int().min(1),
    about,
  }),
]);
const callable = z.custom((value) => typeof value === "function", "expected a function");

/** What a module must export as `strategy` (services/search/strategy.ts says what each means). */
const STRATEGY = z.object({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,63}$/, "expected lower-case letters, digits and dashes"),
  version: z.int().min(1),
  about,
  paper: z.string(),
  costFormula: z.string(),
  parameters: z.record(z.string().regex(/^[a-z][a-z0-9_]*$/, "expected a name in snake_case"), parameter),
  extendsRollouts: z.boolean(),
  revisits: z.boolean().optional(),
  isIndependentSampling: z.boolean(),
  grows: z.array(z.string()).optional(),
  isOrderAdaptive: z.boolean(),
  needs: callable,
  cost: callable,
  search: callable,
});
