/**
 * The schema of a sweep file: the one description that validates it, words its errors and is exported as the JSON Schema
 * which editors use. Field names are the file's (snake_case). What is known to the format but not built yet is refused by
 * name, never ignored.
 */
import { z } from "zod";
import { parseDurationMs } from "../../runtime/duration.ts";
import { nearestWord, suggestion } from "../../runtime/nearest.ts";
import type { Parameter, Strategy } from "../../search/strategy.ts";
import type { AllocatorKind } from "../allocate/allocator.ts";
import { ALLOCATORS, UNIFORM } from "../allocate/catalogue.ts";
import { MODULE_PATH } from "./strategy-declaration.ts";
import { FIELD_NAME } from "../../search/template.ts";

/** Engines that a sweep may name; each has a driver. */
const ENGINES = ["embedded", "openai", "vllm", "sglang", "llama-server", "replay", "simulated"];
/** Hosts that can be simulated; the driver has the constants of each. */
export const SIMULATED_PROFILES = ["8b-h100", "8b-h200", "70b-4xh100", "70b-2xh200", "70b-8xh100"] as const;

/** What a sweep may name: the strategies and the verifiers of this program. */
export interface Catalogue {
  /** By the name that a sweep gives them; that of a module is its path. */
  readonly strategies: ReadonlyMap<string, Strategy>;
  readonly verifiers: readonly DeclaredVerifier[];
}

/** The part of a verifier that the schema needs (workers/verify declares them). */
export interface DeclaredVerifier {
  readonly kind: string;
  readonly about: string;
  /** Its options, those that every verifier has included. */
  readonly options: Readonly<Record<string, DeclaredOption>>;
  /** Throws CoppiceError "invalid_argument" for options that are valid one by one and not as they stand. */
  readonly check?: (options: Readonly<Record<string, unknown>>) => void;
}

export type DeclaredOption =
  | Parameter
  | {
      readonly type: "maybe-number";
      readonly default: null;
      readonly min: number;
      readonly max: number;
      readonly about: string;
    }
  | { readonly type: "boolean"; readonly default: boolean; readonly about: string }
  | { readonly type: "text"; readonly default: string | null; readonly about: string };

/** What hosts get when the sweep does not say. A null context is what the model was trained for. */
export const HOST_DEFAULTS = {
  embedded: { sequences: 32, context_tokens: null, threads: 1, reproducible: true, speculative_tokens: 0 },
  openai: { model: null, concurrency: "auto", timeout_ms: 300_000, gpus: 1 },
  replay: { concurrency: 256 },
  simulated: {
    profile: "8b-h100",
    model: "simulated",
    speed: 1,
    kv_capacity_tokens: null,
    concurrency: "auto",
    mean_tokens: 256,
    line_tokens: 32,
    shares_cold_prefixes: true,
  },
} as const;

export const HEDGE_DEFAULTS = { factor: 2, share: 0.05 } as const;

/** Names of arms and hosts stand in file names, lanes and labels. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const SEED_MAX = 0x7fffffff;
/** In millionths of a dollar it is still a whole number that is exact, and times a price too. */
const USD_MAX = 1_000_000;
const USD_MIN = 0.000_001;
const GPU_SECONDS_MAX = 1e12;
const PARAMETERS_MAX = 1e15;
const GPUS_MAX = 4_096;

/** A map with these keys and no others; the message of a key too many has one line per key, in their order. */
function section<S extends z.core.$ZodLooseShape>(shape: S) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== "unrecognized_keys") return undefined;
      return issue.keys.map((key) => unknownKey(key, known)).join("\n");
    },
  });
}

function unknownKey(key: string, known: readonly string[]): string {
  return `unknown key${suggestion(key, known)}`;
}

function notAvailable(available: readonly string[]): string {
  return `not available in this version; available: ${available.join(", ")}`;
}

/** The error of a choice: what was found, what there is, and what comes later. */
function choiceError(available: readonly string[], later: readonly string[] = []) {
  return (issue: { readonly input?: unknown }): string | undefined => {
    const found = issue.input;
    if (found === undefined) return undefined;
    if (typeof found === "string" && later.includes(found)) return `"${found}" is ${notAvailable(available)}`;
    const near = typeof found === "string" ? nearestWord(found, available) : null;
    const hint = near === null ? "" : `; did you mean "${near}"?`;
    return `expected one of ${available.join(", ")}; found ${JSON.stringify(found)}${hint}`;
  };
}

/** The same for the key that tells apart the members of a union (`engine`, `kind`, `strategy`). */
function unionError(key: string, available: readonly string[], later: readonly string[] = []) {
  const describe = choiceError(available, later);
  return (issue: { readonly code?: string; readonly input?: unknown }): string | undefined => {
    if (issue.code !== "invalid_union") return undefined;
    const input = issue.input;
    const isMap = typeof input === "object" && input !== null && !Array.isArray(input);
    // Reading one key of a map that is not known to have it.
    const found = isMap ? (input as Readonly<Record<string, unknown>>)[key] : undefined;
    return describe({ input: found }) ?? `missing; expected one of ${available.join(", ")}`;
  };
}

const text = z.string();
const filledText = z.string().min(1);
const name = z.string().regex(NAME, "expected at most 64 letters, digits, dots, dashes and underscores");
/** Texts by names that a template may refer to. */
const namedTexts = z.record(z.string().regex(FIELD_NAME), z.string(), {
  error: ({ code }) =>
    code === "invalid_key"
      ? "expected a name of lower-case letters, digits and underscores, no digit first"
      : undefined,
});
const count = z.int().min(1);

const stopStrings = z.union([z.array(filledText), filledText], { error: () => "expected a list of texts" });

const samplingShape = {
  temperature: z.number().min(0).max(100),
  top_p: z.number().gt(0).max(1),
  top_k: z.int().min(0),
  min_p: z.number().min(0).max(1),
  max_tokens: count,
  stop: stopStrings,
  logprobs: z.boolean(),
  json_schema: z.record(z.string(), z.unknown()),
  regex: filledText,
  grammar: filledText,
  beam_width: count.max(1_024),
};

const sampling = section({
  temperature: samplingShape.temperature.default(1),
  top_p: samplingShape.top_p.default(1),
  top_k: samplingShape.top_k.default(0),
  min_p: samplingShape.min_p.default(0),
  max_tokens: samplingShape.max_tokens.default(256),
  stop: stopStrings.default([]),
  logprobs: samplingShape.logprobs.default(false).describe("Whether rollouts say their mean log-probability"),
  json_schema: samplingShape.json_schema.optional().describe("The text must be JSON of this schema"),
  regex: samplingShape.regex.optional().describe("The text must match this regular expression"),
  grammar: samplingShape.grammar.optional().describe("The text must be of this grammar (GBNF or EBNF)"),
  beam_width: samplingShape.beam_width.optional().describe("The engine's own beam search of this width"),
});
const samplingOverride = section(samplingShape).partial();

const CONCURRENCY_MAX = 65_536;
const concurrency = z
  .union([z.literal("auto"), count.max(CONCURRENCY_MAX)], {
    error: ({ input }) =>
      `expected "auto" or a whole number from 1 to ${CONCURRENCY_MAX}, found ${JSON.stringify(input)}`,
  })
  .describe("Rollouts at once; auto: found while the host works");

const gpus = z.int().min(0).max(GPUS_MAX).describe("GPUs that it runs on: what its time is counted by");

/** What every host has that is spoken to over HTTP. */
const serverShape = {
  id: name.optional(),
  url: z.url({ protocol: /^https?$/, error: (issue) => urlError(issue.input) }),
  api_key_env: filledText.nullable().default(null),
  model: filledText
    .nullable()
    .default(HOST_DEFAULTS.openai.model)
    .describe("The model to use of this host; the sweep's when absent"),
  concurrency: concurrency.default(HOST_DEFAULTS.openai.concurrency),
  timeout_ms: count.default(HOST_DEFAULTS.openai.timeout_ms),
  gpus: gpus.default(HOST_DEFAULTS.openai.gpus),
};

const SIMULATED = HOST_DEFAULTS.simulated;
const simulatedShape = {
  id: name.optional(),
  gpus: gpus.optional(),
  profile: z.enum(SIMULATED_PROFILES, { error: choiceError(SIMULATED_PROFILES) }).default(SIMULATED.profile),
  model: filledText.default(SIMULATED.model).describe("The name of the model that it serves"),
  speed: z
    .number()
    .gt(0)
    .max(1_000_000)
    .default(SIMULATED.speed)
    .describe("Milliseconds of the host in one that passes"),
  kv_capacity_tokens: count
    .nullable()
    .default(SIMULATED.kv_capacity_tokens)
    .describe("Tokens that its KV cache holds; null: the profile's"),
  concurrency: concurrency.default(SIMULATED.concurrency),
  mean_tokens: count.default(SIMULATED.mean_tokens).describe("Mean tokens of a text that nothing else ends"),
  line_tokens: count.default(SIMULATED.line_tokens).describe("Mean tokens of a line"),
  shares_cold_prefixes: z
    .boolean()
    .default(SIMULATED.shares_cold_prefixes)
    .describe("Whether siblings that come at once compute a cold prompt once, as at vLLM"),
};

/** A host of a sweep, or of a worker's command line. */
export const hostSchema = z.discriminatedUnion(
  "engine",
  [
    section({
      engine: z.literal("embedded"),
      id: name.optional(),
      model_path: filledText.optional(),
      sequences: count.max(255).default(HOST_DEFAULTS.embedded.sequences),
      context_tokens: count.nullable().default(HOST_DEFAULTS.embedded.context_tokens),
      threads: count.max(1_024).default(HOST_DEFAULTS.embedded.threads),
      reproducible: z.boolean().default(HOST_DEFAULTS.embedded.reproducible),
      speculative_tokens: z
        .int()
        .min(0)
        .max(31)
        .default(HOST_DEFAULTS.embedded.speculative_tokens)
        .describe("Longest draft, looked up in the text so far, that is evaluated at once; 0 is off"),
    }),
    section({ engine: z.enum(["openai", "llama-server"]), ...serverShape }),
    section({
      engine: z.enum(["vllm", "sglang"]),
      ...serverShape,
      kv_events: z
        .string()
        .regex(/^tcp:\/\/[^/*]+:\d{1,5}$/, "expected an address such as tcp://gpu1:5557")
        .nullable()
        .default(null)
        .describe("Where the engine publishes its KV events; null: they are not followed"),
    }),
    section({
      engine: z.literal("replay"),
      id: name.optional(),
      records: filledText,
      concurrency: count.max(65_536).default(HOST_DEFAULTS.replay.concurrency),
    }),
    section({ engine: z.literal("simulated"), ...simulatedShape }),
  ],
  { error: unionError("engine", ENGINES) },
);

function urlError(found: unknown): string | undefined {
  if (found === undefined) return undefined;
  return `expected an address such as "http://gpu1:8000", found ${JSON.stringify(found)}`;
}

/** A verifier's specification as parsed: its kind, and its options with their defaults. */
export type VerifierFile = Readonly<Record<string, unknown>> & { readonly kind: string };

function verifierSchema(verifiers: readonly DeclaredVerifier[]): z.ZodType<VerifierFile> {
  const kinds = verifiers.map(({ kind }) => kind);
  const error = unionError("kind", kinds);
  return union("kind", verifiers.map(verifierKindSchema), error) as z.ZodType<VerifierFile>;
}

/** One kind of verifier: its declared options. */
export function verifierKindSchema({ kind, options }: DeclaredVerifier) {
  return section({ kind: z.literal(kind), ...optionSchemas(options) });
}

const wall = z
  .union([z.int(), filledText], { error: () => 'expected a duration such as "90s" or "2h", or milliseconds' })
  .superRefine((value, context) => {
    const wallMs = typeof value === "number" ? value : parseDurationMs(value);
    if (wallMs === null) {
      context.addIssue(`expected a duration such as "90s" or "2h", found ${JSON.stringify(value)}`);
    } else if (wallMs < 1) {
      context.addIssue(`expected more than zero, found ${JSON.stringify(value)}`);
    }
  });

const dollars = z.number().min(USD_MIN).max(USD_MAX);

/** What can be limited of a task, of an arm and of a sweep. */
const ceilings = {
  rollouts: count.optional(),
  completion_tokens: count.optional().describe("Sampled by rollouts"),
  total_tokens: count.optional().describe("Prompt and completion tokens of rollouts"),
  verifier_tokens: count.optional().describe("Prompt and completion tokens of verifiers that ask a model"),
  usd: dollars.optional().describe("By `prices`"),
};
const perTask = section(ceilings).describe("Ceilings for each task").optional();
const armBudget = section({ ...ceilings, per_task: perTask });
const budget = section({
  ...ceilings,
  gpu_seconds: z
    .number()
    .min(1)
    .max(GPU_SECONDS_MAX)
    .optional()
    .describe("GPUs of the hosts that are there, busy or not, over time"),
  wall: wall.optional(),
  per_task: perTask,
});

const price = z.number().min(0).max(USD_MAX);
const prices = section({
  prompt: price.default(0).describe("USD for a million prompt tokens"),
  cached: price
    .optional()
    .describe("USD for a million prompt tokens that the host took from its cache; as `prompt` when absent"),
  completion: price.default(0).describe("USD for a million completion tokens"),
  verifier: price.default(0).describe("USD for a million tokens of verifiers that ask a model"),
  gpu_hour: price.default(0).describe("USD for an hour of one GPU"),
});

const hedge = section({
  factor: z
    .number()
    .min(1)
    .default(HEDGE_DEFAULTS.factor)
    .describe(
      "Sent again when it waits so many times longer than nearly all of its like take at another host",
    ),
  share: z
    .number()
    .gt(0)
    .max(1)
    .default(HEDGE_DEFAULTS.share)
    .describe("Of the answered asks, the share that may be sent a second time"),
});

const ALLOCATOR_KINDS = ALLOCATORS.map(({ kind }) => kind);
/** A kind alone, or a kind with its parameters. */
const allocator = z.preprocess(
  (given, context) => {
    if (typeof given !== "string") return given;
    if (ALLOCATOR_KINDS.includes(given)) return { kind: given };
    context.addIssue(choiceError(ALLOCATOR_KINDS)({ input: given }) ?? "");
    return z.NEVER;
  },
  union(
    "kind",
    ALLOCATORS.map(allocatorSchema),
    unionError("kind", ALLOCATOR_KINDS),
  ) as z.ZodType<AllocatorFile>,
);

/** One allocator: its declared parameters. */
export function allocatorSchema({ kind, parameters }: AllocatorKind) {
  return section({ kind: z.literal(kind), ...optionSchemas(parameters) });
}

/** An allocator as parsed: its kind; the other keys are its parameters, with their defaults. */
export type AllocatorFile = Readonly<Record<string, unknown>> & { readonly kind: string };

const inlineProblem = z.looseObject({});

/** One arm: the strategy's declared parameters, and what every arm may say. */
export function armSchema(called: string, strategy: Strategy) {
  return section({
    strategy: z.literal(called),
    id: name.optional(),
    sampling: samplingOverride.optional(),
    budget: armBudget.optional().describe("Ceilings for all tasks of this arm together"),
    ...optionSchemas(strategy.parameters),
  });
}

function optionSchemas(declared: Readonly<Record<string, DeclaredOption>>): Record<string, z.ZodType> {
  return Object.fromEntries(Object.entries(declared).map(([key, option]) => [key, optionSchema(option)]));
}

function optionSchema(declared: DeclaredOption): z.ZodType {
  const about = declared.about;
  switch (declared.type) {
    case "integer":
      return z.int().min(declared.min).max(declared.max).default(declared.default).describe(about);
    case "number":
      return z.number().min(declared.min).max(declared.max).default(declared.default).describe(about);
    case "choice": {
      const choice = z.enum([...declared.choices], { error: choiceError(declared.choices) });
      return choice.default(declared.default).describe(about);
    }
    case "strings":
      return z
        .array(filledText)
        .default([...declared.default])
        .describe(about);
    case "texts":
      return namedTexts
        .refine(
          (texts) => Object.keys(texts).length <= declared.max,
          `expected at most ${declared.max} texts`,
        )
        .default({ ...declared.default })
        .describe(about);
    case "maybe-number":
      return z.number().min(declared.min).max(declared.max).nullable().default(null).describe(about);
    case "boolean":
      return z.boolean().default(declared.default).describe(about);
    case "text":
      return declared.default === null
        ? z.string().nullable().default(null).describe(about)
        : z.string().default(declared.default).describe(about);
  }
}

/** A union of sections told apart by one key; of which sections is known only when the program runs. */
function union(key: string, members: readonly z.ZodType[], error: ReturnType<typeof unionError>): z.ZodType {
  // At least one, each with a literal under `key`: zod checks that as it is built, its types want it sooner.
  const options = members as unknown as [z.core.$ZodTypeDiscriminable];
  return z.discriminatedUnion(key, options, { error });
}

/** An arm as parsed: the keys that every arm has; the others are its strategy's parameters. */
export type ArmFile = Readonly<Record<string, unknown>> & {
  readonly strategy: string;
  readonly id?: string | undefined;
  readonly sampling?: z.output<typeof samplingOverride> | undefined;
  readonly budget?: z.output<typeof armBudget> | undefined;
};

/** The whole file. `resolved.yaml` says a little more: what it was made by, and from. */
export function sweepSchema({ strategies, verifiers }: Catalogue) {
  const names = [...strategies.keys()];
  const arm = union(
    "strategy",
    Array.from(strategies, ([called, strategy]) => armSchema(called, strategy)),
    unionError("strategy", names),
  ) as z.ZodType<ArmFile>;
  return section({
    name: name.optional(),
    problems: z.union([filledText, z.array(inlineProblem).min(1)], {
      error: (issue) => (issue.input === undefined ? undefined : "expected a path or a list of problems"),
    }),
    model: filledText,
    hosts: z.array(hostSchema).optional(),
    prompt_template: filledText.default("{prompt}"),
    sampling: sampling.prefault({}),
    strategies: z.array(arm).min(1),
    verifier: verifierSchema(verifiers),
    process_verifier: verifierSchema(verifiers).optional(),
    budget: budget.prefault({}),
    prices: prices.optional().describe("What tokens and GPUs cost"),
    model_parameters: z
      .number()
      .gt(0)
      .max(PARAMETERS_MAX)
      .optional()
      .describe("Parameters of the model, such as 7.6e9: what FLOPs are counted by"),
    allocate: allocator.default({ kind: UNIFORM.kind }),
    seed: z.int().min(0).max(SEED_MAX).default(0),
    deterministic: z.boolean().default(false),
    hedge: hedge
      .nullable()
      .default(null)
      .describe("Sends a second time what waits too long; null: nothing is"),
    output: filledText.optional(),
    version: text.optional().describe("In a resolved sweep: the version of the program that wrote it"),
    problems_sha256: text
      .optional()
      .describe("In a resolved sweep: SHA-256 of the problems as they were read"),
  });
}

export type SweepSchema = ReturnType<typeof sweepSchema>;
/** A sweep file whose keys are all known and well-typed, with the defaults of its own sections. */
export type SweepFile = z.output<SweepSchema>;
export type HostFile = z.output<typeof hostSchema>;

/** The JSON Schema that editors use. An arm may also be a module of the user's own, whose parameters no schema knows. */
export function sweepJsonSchema(catalogue: Catalogue): Record<string, unknown> {
  return z.toJSONSchema(sweepSchema(catalogue), {
    io: "input",
    unrepresentable: "any",
    override({ jsonSchema, path }) {
      if (path.join(".") === "properties.allocate") jsonSchema.oneOf?.push({ enum: ALLOCATOR_KINDS });
      if (path.join(".") !== "properties.strategies.items") return;
      jsonSchema.oneOf?.push({
        type: "object",
        properties: { strategy: { type: "string", pattern: MODULE_PATH.source } },
        required: ["strategy"],
      });
    },
  });
}
