/**
 * Where the asks of an arm go, and what they are judged by: to a host that serves a model, beside the prefixes that it
 * holds, or to the workers of a kind of verifier. Pure; one per arm of a sweep.
 */
import { abilitiesOf, isInferenceKind } from "../queue/inference.ts";
import { abilitiesFor, type Ability, type VerifierSpec } from "../queue/job.ts";
import type { Ask, Tool, VerifyAsk } from "../search/program.ts";
import type { Arm, Sweep } from "./sweep.ts";

/** Equal routes are one object. */
export type Route = HostRoute | VerifierRoute;

export interface HostRoute {
  readonly kind: "host";
  readonly model: string;
  /** All that the arm will ever need of a host with this model: a task's tree stays on one. */
  readonly can: ReadonlySet<Ability>;
}

export interface VerifierRoute {
  readonly kind: "verifier";
  /** The kind of verifier that a worker must offer. */
  readonly verifier: string;
}

const LIKELIHOOD: VerifierSpec = { kind: "likelihood" };

export class Routes {
  /** All that the arm judges by, tools included. */
  readonly specs: readonly VerifierSpec[];
  readonly #sweep: Sweep;
  readonly #arm: Arm;
  readonly #hosts = new Map<string, HostRoute & { readonly can: Set<Ability> }>();
  readonly #verifiers = new Map<string, VerifierRoute>();

  constructor(sweep: Sweep, arm: Arm) {
    this.#sweep = sweep;
    this.#arm = arm;
    this.#host(sweep.model, abilitiesFor(arm.sampling));
    const { processVerifier = false, likelihood = false, tools = [] } = needsOf(arm);
    const specs: readonly (VerifierSpec | null)[] = [
      sweep.verifier,
      processVerifier ? sweep.processVerifier : null,
      likelihood ? LIKELIHOOD : null,
      ...tools.map(toolSpec),
    ];
    this.specs = specs.filter((spec) => spec !== null);
    for (const spec of this.specs) this.#routeOf(spec);
  }

  /** That of the arm's rollouts. */
  get rollouts(): HostRoute {
    return this.#host(this.#sweep.model, []);
  }

  /** Every route that an ask of the arm may take to a host. */
  get hosts(): Iterable<HostRoute> {
    return this.#hosts.values();
  }

  /** What verification workers are asked for. */
  get outside(): readonly VerifierSpec[] {
    return this.specs.filter(({ kind }) => !isInferenceKind(kind));
  }

  of(ask: Ask): Route {
    return ask.kind === "sample" ? this.rollouts : this.#routeOf(this.specOf(ask));
  }

  /** The model that judges, where it is not the sweep's own; null where it is, or none does. */
  modelOf(ask: VerifyAsk): string | null {
    return modelOf(this.specOf(ask));
  }

  specOf({ role, tool }: Pick<VerifyAsk, "role" | "tool">): VerifierSpec {
    switch (role) {
      case "outcome":
        return this.#sweep.verifier;
      case "process": {
        const { processVerifier } = this.#sweep;
        if (processVerifier !== null) return processVerifier;
        throw new Error(
          `strategy ${this.#arm.strategy.name} asks for a process verifier, the sweep has none`,
        );
      }
      case "likelihood":
        return LIKELIHOOD;
      case "tool":
        if (tool === null) throw new Error("an ask of the role tool names no tool");
        return toolSpec(tool);
    }
  }

  #routeOf(spec: VerifierSpec): Route {
    if (isInferenceKind(spec.kind))
      return this.#host(modelOf(spec) ?? this.#sweep.model, abilitiesOf(spec.kind));
    let route = this.#verifiers.get(spec.kind);
    if (route === undefined)
      this.#verifiers.set(spec.kind, (route = { kind: "verifier", verifier: spec.kind }));
    return route;
  }

  #host(model: string, can: readonly Ability[]): HostRoute {
    let route = this.#hosts.get(model);
    if (route === undefined) this.#hosts.set(model, (route = { kind: "host", model, can: new Set() }));
    for (const ability of can) route.can.add(ability);
    return route;
  }
}

/** The host that a route needs, for people. */
export function describeRoute({ model, can }: HostRoute): string {
  const able = can.size === 0 ? "" : ` and has ${[...can].join(", ")}`;
  return `a host that serves "${model}"${able}`;
}

/** What the arm's strategy needs with the arm's parameters. */
export function needsOf({ strategy, parameters }: Arm): ReturnType<Arm["strategy"]["needs"]> {
  // The parameters were validated against the strategy's own declaration when the sweep was parsed.
  return strategy.needs(parameters as never);
}

/** A verifier that is inference may name the model of its hosts; else the sweep's own judges. */
function modelOf({ model }: VerifierSpec): string | null {
  return typeof model === "string" && model !== "" ? model : null;
}

function toolSpec(tool: Tool): VerifierSpec {
  return tool === "calculator" ? { kind: "calculator" } : { kind: "execute", language: tool };
}
