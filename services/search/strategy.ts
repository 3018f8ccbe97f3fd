/**
 * What a strategy file exports. A new strategy is one file in `strategies/`, one line in `catalogue.ts`, one
 * conformance call.
 */
import type { Outcome, Prefix, Program, Tool } from "./program.ts";

/**
 * The declaration of one parameter, in the sweep file's snake_case; becomes schema, `--help` and
 * documentation.
 */
export type Parameter =
  | {
      readonly type: "integer" | "number";
      readonly default: number;
      readonly min: number;
      readonly max: number;
      readonly about: string;
    }
  | {
      readonly type: "choice";
      readonly default: string;
      readonly choices: readonly string[];
      readonly about: string;
    }
  | { readonly type: "strings"; readonly default: readonly string[]; readonly about: string }
  | { readonly type: "text"; readonly default: string; readonly about: string }
  | {
      /** Named texts, in their order; a name is what a template may refer to. */
      readonly type: "texts";
      readonly default: Readonly<Record<string, string>>;
      /** The most of them. */
      readonly max: number;
      readonly about: string;
    };

/** What a parameter of a kind holds. Distributes, so that an unknown parameter holds any of them. */
export type ParameterValue<P extends Parameter> = P extends { type: "integer" | "number" }
  ? number
  : P extends { type: "strings" }
    ? readonly string[]
    : P extends { type: "text" }
      ? string
      : P extends { type: "texts" }
        ? Readonly<Record<string, string>>
        : P extends { type: "choice"; choices: readonly (infer C)[] }
          ? C
          : never;

export type ParameterValues<P extends Readonly<Record<string, Parameter>>> = {
  readonly [K in keyof P]: ParameterValue<P[K]>;
};

/** Ceiling of what one task may ask, for `--dry-run`. */
export interface Cost {
  readonly rollouts: number;
  /** Asks of every role: verifiers, likelihoods, tools. */
  readonly verifications: number;
}

/** What a strategy needs beside a model and an outcome verifier. */
export interface Needs {
  /** It scores partial paths: the sweep must give a `process_verifier`. */
  readonly processVerifier?: boolean;
  /** It asks how likely the model finds a given text. */
  readonly likelihood?: boolean;
  /** It reads the mean log-probability of rollouts. */
  readonly logprobs?: boolean;
  readonly tools?: readonly Tool[];
}

/** What a program may know of its problem: never what the verifier knows. */
export interface ProblemFacts {
  readonly id: string;
  /** As the problem has it, before the sweep's template. */
  readonly prompt: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface Strategy<
  P extends Readonly<Record<string, Parameter>> = Readonly<Record<string, Parameter>>,
> {
  readonly name: string;
  /** Of a strategy of the user's own: where it was read, and what it was. */
  readonly module?: { readonly path: string; readonly sha256: string };
  /**
   * Part of the journal's header: raise it whenever the program's asks change, old journals are then refused.
   */
  readonly version: number;
  readonly about: string;
  readonly paper: string;
  readonly parameters: P;
  /** What a task costs, in the parameters' names and in words of the paper, for people. */
  readonly costFormula: string;
  /** May depend on the parameters. */
  needs(parameters: ParameterValues<P>): Needs;
  /**
   * Whether it asks for continuations of rollouts. Their token ids then travel with them, so that a prefix is sent to the
   * host as it was sampled.
   */
  readonly extendsRollouts: boolean;
  /** Whether it may go on from any rollout that it ever got, and not only from the latest (MCTS). Absent: it does not. */
  readonly revisits?: boolean;
  /**
   * Parameters that may be raised on a run: what it asks with a lower value, and what it is told, are a beginning of what it asks
   * with a higher one. Absent: none.
   */
  readonly grows?: readonly string[];
  /** Whether its rollouts are independent samples of the prompt, so that pass@k is defined over them. */
  readonly isIndependentSampling: boolean;
  /**
   * Whether what it asks depends on the order in which answers settle (I4: then rebuilt exactly from the
   * journal only).
   */
  readonly isOrderAdaptive: boolean;
  /** `parameters` of every function here are complete and within their declared limits. */
  cost(parameters: ParameterValues<P>): Cost;
  /**
   * What is wrong with parameters that are right one by one, with the path to it (`nodes.plan: ...`); null when nothing is.
   * A sweep is refused for it before it starts.
   */
  check?(parameters: ParameterValues<P>): string | null;
  search(prompt: Prefix, parameters: ParameterValues<P>, problem: ProblemFacts): Program<Outcome>;
}

/** The default of every declared parameter, with `given` over it. What is given is not checked here. */
export function withDefaults<P extends Readonly<Record<string, Parameter>>>(
  declared: P,
  given: Partial<ParameterValues<P>> = {},
): ParameterValues<P> {
  const defaults = Object.fromEntries(
    Object.entries(declared).map(([name, { default: value }]) => [name, value]),
  );
  // One entry per declared name, holding that declaration's own default: what ParameterValues<P> says.
  return { ...defaults, ...given } as ParameterValues<P>;
}
