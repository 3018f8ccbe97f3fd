/** A checked sweep file completed into a `Sweep`, and written again as `resolved.yaml`, from which a run is resumed. */
import { basename, resolve } from "node:path";
import { stringify } from "yaml";
import { needsOf } from "../routes.ts";
import { fromAllocator, toAllocator } from "./allocate-file.ts";
import { fromArmBudget, fromBudget, fromPrices, toArmBudget, toBudget, toPrices } from "./budget-file.ts";
import { fromSampling, toSampling } from "./sampling-file.ts";
import {
  type ArmFile,
  type Catalogue,
  HOST_DEFAULTS,
  type HostFile,
  type SweepFile,
} from "./sweep-schema.ts";
import type { Arm, HostSpec, Sweep } from "../sweep.ts";

/** The model that is shipped with the project: the name under which a sweep asks for it. */
export const SHIPPED_MODEL = "game24-tiny";

export interface ResolveOptions {
  readonly catalogue: Catalogue;
  /** Absolute path of the sweep file: relative paths in it are relative to its directory, its name is the default name. */
  readonly file: string;
  /** Absolute path of the shipped model, for embedded hosts that name none. */
  readonly shippedModelPath: string;
  /** Replaces `output`, for a run directory that was moved. */
  readonly output?: string;
}

/** A complete sweep, and where its problems come from: an absolute path, or the list in the file. */
export interface ResolvedSweep {
  readonly sweep: Sweep;
  readonly problems: ProblemSource;
}

export type ProblemSource = string | readonly unknown[];

/** Fills in what depends on the place: paths, names, the shipped model's host. `file` comes from `parseSweepFile`. */
export function resolveSweep(file: SweepFile, options: ResolveOptions): ResolvedSweep {
  const directory = resolve(options.file, "..");
  const name = file.name ?? basename(options.file).replace(/\.(ya?ml|json)$/i, "");
  const sweep: Sweep = {
    name,
    model: file.model,
    hosts: resolveHosts(file, directory, options.shippedModelPath),
    promptTemplate: file.prompt_template,
    sampling: toSampling(file.sampling),
    arms: file.strategies.map((arm) => resolveArm(arm, file.sampling, options.catalogue.strategies)),
    verifier: file.verifier,
    processVerifier: file.process_verifier ?? null,
    budget: toBudget(file.budget),
    prices: toPrices(file.prices),
    modelParameters: file.model_parameters ?? null,
    allocate: toAllocator(file.allocate),
    seed: file.seed,
    deterministic: file.deterministic,
    hedge: file.hedge,
    output: options.output ?? resolve(directory, file.output ?? `runs/${name}`),
  };
  return {
    sweep,
    problems: typeof file.problems === "string" ? resolve(directory, file.problems) : file.problems,
  };
}

function resolveArm(arm: ArmFile, sampling: SweepFile["sampling"], strategies: Catalogue["strategies"]): Arm {
  const strategy = strategies.get(arm.strategy);
  if (strategy === undefined) throw new Error(`a checked sweep names an unknown strategy: ${arm.strategy}`);
  const declared = Object.keys(strategy.parameters).map((key) => [key, arm[key]]);
  const overrides = Object.entries(arm.sampling ?? {}).filter(([, value]) => value !== undefined);
  const parameters = Object.fromEntries(declared);
  const own = toSampling({ ...sampling, ...Object.fromEntries(overrides) });
  const budget = toArmBudget(arm.budget);
  return createArm({ id: arm.id ?? strategy.name, strategy, parameters, sampling: own, budget });
}

/** An arm whose rollouts say what its strategy needs to know of them. `parameters` are complete. */
export function createArm(arm: Arm): Arm {
  const { logprobs = false } = needsOf(arm);
  const wanted = {
    ...(logprobs ? { logprobs } : {}),
    ...(arm.strategy.extendsRollouts ? { tokens: true } : {}),
  };
  return { ...arm, sampling: { ...arm.sampling, ...wanted } };
}

function resolveHosts(file: SweepFile, directory: string, shippedModelPath: string): readonly HostSpec[] {
  const shipped: HostFile = { engine: "embedded", ...HOST_DEFAULTS.embedded };
  const hosts = file.hosts ?? (file.model === SHIPPED_MODEL ? [shipped] : []);
  const taken = new Set(hosts.flatMap(({ id }) => id ?? []));
  return hosts.map((host) => {
    const id = host.id ?? freeId(host, taken);
    taken.add(id);
    return resolveHost(host, { id, directory, shippedModelPath });
  });
}

/** A host with its paths made absolute, and the engine that its driver is chosen by. */
export function resolveHost(
  host: HostFile,
  {
    id,
    directory,
    shippedModelPath,
  }: { readonly id: string; readonly directory: string; readonly shippedModelPath: string },
): HostSpec {
  switch (host.engine) {
    case "embedded": {
      const path = host.model_path === undefined ? shippedModelPath : resolve(directory, host.model_path);
      return { ...host, id, model_path: path };
    }
    case "replay":
      return { ...host, id, records: resolve(directory, host.records) };
    case "simulated":
      return { ...host, id, gpus: host.gpus ?? gpusOf(host.profile) };
    default:
      return { ...host, id };
  }
}

/** Of a profile: 70b-4xh100 has four, 8b-h100 one. */
function gpusOf(profile: string): number {
  return Number(/-(\d+)x/u.exec(profile)?.[1] ?? 1);
}

/** `gpu1-8000` for a host with an address, its engine otherwise; numbered from the second on. */
function freeId(host: HostFile, taken: ReadonlySet<string>): string {
  const stem =
    "url" in host
      ? new URL(host.url).host.replaceAll(/[^A-Za-z0-9.-]+/g, "-").replace(/^[.-]+/, "")
      : host.engine;
  let id = stem.slice(0, 56);
  for (let n = 2; taken.has(id); n++) id = `${stem.slice(0, 56)}-${n}`;
  return id;
}

export interface ResolvedOrigin {
  readonly problems: ProblemSource;
  /** The program's version. */
  readonly version: string;
  /** Of the problems as they were read. */
  readonly problemsSha256: string;
  /** How a strategy of the user's own is called: by its path, for this machine, or by its name, for a coordinator that has it. */
  readonly modules: "by-path" | "by-name";
}

/** How YAML is written. */
export const RESOLVED_STYLE = { aliasDuplicateObjects: false, lineWidth: 110 } as const;

/** The sweep with every default, as YAML that `parseSweepFile` and `resolveSweep` read back as the same sweep. */
export function renderResolved(sweep: Sweep, origin: ResolvedOrigin): string {
  const file = {
    version: origin.version,
    name: sweep.name,
    problems: origin.problems,
    problems_sha256: origin.problemsSha256,
    model: sweep.model,
    hosts: sweep.hosts,
    prompt_template: sweep.promptTemplate,
    sampling: fromSampling(sweep.sampling),
    strategies: sweep.arms.map(({ id, strategy, parameters, sampling, budget }) => {
      const called = origin.modules === "by-path" ? strategy.module?.path : undefined;
      const own = fromArmBudget(budget);
      return {
        strategy: called ?? strategy.name,
        id,
        ...parameters,
        sampling: fromSampling(sampling),
        ...(Object.keys(own).length === 0 ? {} : { budget: own }),
      };
    }),
    verifier: sweep.verifier,
    ...(sweep.processVerifier === null ? {} : { process_verifier: sweep.processVerifier }),
    budget: fromBudget(sweep.budget),
    ...(sweep.prices === null ? {} : { prices: fromPrices(sweep.prices) }),
    ...(sweep.modelParameters === null ? {} : { model_parameters: sweep.modelParameters }),
    allocate: fromAllocator(sweep.allocate),
    seed: sweep.seed,
    deterministic: sweep.deterministic,
    hedge: sweep.hedge,
    output: sweep.output,
  };
  return stringify(file, RESOLVED_STYLE);
}
