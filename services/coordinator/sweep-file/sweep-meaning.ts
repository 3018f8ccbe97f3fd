/** What no schema of single keys can say of a sweep: names that must differ, keys that need each other. */
import { messageOf } from "../../runtime/errors.ts";
import type { ParameterValues, Parameter, Strategy } from "../../search/strategy.ts";
import { findAllocator } from "../allocate/catalogue.ts";
import { checkTemplate } from "./prompt-template.ts";
import { STRUCTURE_KEYS } from "./sampling-file.ts";
import { type Complaint, type KeyPath, valueAt } from "./sweep-complaint.ts";
import {
  allocatorSchema,
  type Catalogue,
  type DeclaredVerifier,
  armSchema,
  verifierKindSchema,
} from "./sweep-schema.ts";

/** Complaints about the file as a whole. Reads with care: `raw` may be wrong in other ways, which are told beside these. */
export function checkMeaning(raw: unknown, { strategies, verifiers }: Catalogue): readonly Complaint[] {
  return [
    ...equalNames(raw, "strategies"),
    ...equalNames(raw, "hosts"),
    ...template(raw),
    ...verifierOptions(raw, "verifier", verifiers),
    ...verifierOptions(raw, "process_verifier", verifiers),
    ...structures(raw),
    ...processVerifier(raw, strategies),
    ...hedge(raw),
    ...pricelessDollars(raw),
    ...parametersTogether(raw, strategies),
    ...allocatorParameters(raw),
  ];
}

function equalNames(raw: unknown, key: "strategies" | "hosts"): readonly Complaint[] {
  const seen = new Map<string, number>();
  return listAt(raw, key).flatMap((member, i) => {
    // A strategy without an id is called by its name; a host without one gets a free id.
    const name =
      valueAt(member, ["id"]) ?? (key === "strategies" ? valueAt(member, ["strategy"]) : undefined);
    if (typeof name !== "string") return [];
    const first = seen.get(name);
    if (first === undefined) {
      seen.set(name, i);
      return [];
    }
    return [
      { path: [key, i], message: `is called "${name}" like ${key}.${first}; give one of them another id` },
    ];
  });
}

/** What a copy costs depends on time, and with it where a budget ends: on another cluster other rows would come out. */
function hedge(raw: unknown): readonly Complaint[] {
  const given = valueAt(raw, ["hedge"]);
  if (given === undefined || given === null || valueAt(raw, ["deterministic"]) !== true) return [];
  const message =
    "a deterministic sweep sends nothing twice: what that costs depends on time; leave one of the two out";
  return [{ path: ["hedge"], message }];
}

function template(raw: unknown): readonly Complaint[] {
  const given = valueAt(raw, ["prompt_template"]);
  const message = typeof given === "string" && given !== "" ? checkTemplate(given) : null;
  return message === null ? [] : [{ path: ["prompt_template"], message }];
}

function verifierOptions(
  raw: unknown,
  key: "verifier" | "process_verifier",
  verifiers: readonly DeclaredVerifier[],
): readonly Complaint[] {
  const given = valueAt(raw, [key]);
  const verifier = verifiers.find(({ kind }) => kind === valueAt(given, ["kind"]));
  const parsed = verifier === undefined ? undefined : verifierKindSchema(verifier).safeParse(given);
  if (parsed?.success !== true) return [];
  try {
    verifier?.check?.(parsed.data);
    return [];
  } catch (error) {
    return [{ path: [key], message: messageOf(error) }];
  }
}

/** A text has one form at most, the sweep's and the arm's own taken together. */
function structures(raw: unknown): readonly Complaint[] {
  const formsAt = (path: KeyPath): readonly string[] =>
    STRUCTURE_KEYS.filter((key) => valueAt(raw, [...path, key]) !== undefined);
  const ofSweep = formsAt(["sampling"]);
  const places = [
    { path: ["sampling"], forms: ofSweep },
    ...listAt(raw, "strategies").map((_, i) => {
      const path = ["strategies", i, "sampling"];
      return { path, forms: [...new Set([...ofSweep, ...formsAt(path)])] };
    }),
  ];
  return places.flatMap(({ path, forms }) => {
    if (forms.length < 2 || (path.length > 1 && ofSweep.length === forms.length)) return [];
    return [{ path, message: `expected one of ${STRUCTURE_KEYS.join(", ")}; found ${forms.join(" and ")}` }];
  });
}

function processVerifier(raw: unknown, strategies: Catalogue["strategies"]): readonly Complaint[] {
  if (valueAt(raw, ["process_verifier"]) !== undefined) return [];
  return validArms(raw, strategies).flatMap(({ i, strategy, parameters }) => {
    if (strategy.needs(parameters).processVerifier !== true) return [];
    const message = `${strategy.name} scores partial paths: the sweep needs the key "process_verifier" beside "verifier"`;
    return [{ path: ["strategies", i], message }];
  });
}

/** A ceiling in dollars means nothing where nothing has a price. */
function pricelessDollars(raw: unknown): readonly Complaint[] {
  const prices = valueAt(raw, ["prices"]);
  const isPriced =
    typeof prices === "object" &&
    prices !== null &&
    Object.values(prices).some((price) => typeof price === "number" && price > 0);
  if (isPriced) return [];
  const budgets: readonly KeyPath[] = [
    ["budget"],
    ...listAt(raw, "strategies").map((_, i) => ["strategies", i, "budget"]),
  ];
  return budgets
    .flatMap((path) => [
      [...path, "usd"],
      [...path, "per_task", "usd"],
    ])
    .filter((path) => valueAt(raw, path) !== undefined)
    .map((path) => ({ path, message: 'expected a price above 0 under the key "prices", found none' }));
}

function parametersTogether(raw: unknown, strategies: Catalogue["strategies"]): readonly Complaint[] {
  return validArms(raw, strategies).flatMap(({ i, strategy, parameters }) => {
    const message = strategy.check?.(parameters) ?? null;
    return message === null ? [] : [{ path: ["strategies", i], message: `${strategy.name}: ${message}` }];
  });
}

function allocatorParameters(raw: unknown): readonly Complaint[] {
  const given = valueAt(raw, ["allocate"]);
  const allocator = findAllocator(String(valueAt(given, ["kind"])));
  const parsed = allocator === null ? undefined : allocatorSchema(allocator).safeParse(given);
  if (allocator === null || parsed?.success !== true) return [];
  // The schema was made from the allocator's own declaration, so what it parsed has the declared types.
  const message = allocator.check?.(parsed.data);
  return typeof message === "string"
    ? [{ path: ["allocate"], message: `${allocator.kind}: ${message}` }]
    : [];
}

interface ValidArm {
  readonly i: number;
  readonly strategy: Strategy;
  readonly parameters: ParameterValues<Readonly<Record<string, Parameter>>>;
}

/** The arms whose keys are right one by one, with every default filled in. */
function validArms(raw: unknown, strategies: Catalogue["strategies"]): readonly ValidArm[] {
  return listAt(raw, "strategies").flatMap((arm, i) => {
    const called = String(valueAt(arm, ["strategy"]));
    const strategy = strategies.get(called);
    const parsed = strategy === undefined ? undefined : armSchema(called, strategy).safeParse(arm);
    if (strategy === undefined || parsed?.success !== true) return [];
    // The schema was made from the strategy's own declaration, so what it parsed has the declared types.
    return [{ i, strategy, parameters: parsed.data as unknown as ValidArm["parameters"] }];
  });
}

function listAt(raw: unknown, key: string): readonly unknown[] {
  const value = valueAt(raw, [key]);
  return Array.isArray(value) ? value : [];
}
