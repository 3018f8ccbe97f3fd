/** `coppice strategies`: every strategy, its paper, its parameters with their defaults, and what a task of it costs. */
import type { Command } from "commander";
import type { Needs, Parameter, ParameterValues, Strategy } from "../../search/strategy.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { suggestion } from "../../runtime/nearest.ts";
import { strategyOption } from "../options.ts";
import { EXIT } from "../exit-status.ts";
import type { Shell } from "../shell.ts";
import { catalogueWith } from "../strategy-modules.ts";

export function strategiesCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("strategies")
    .description("list the strategies: parameters, defaults, paper, cost of a task")
    .argument("[names...]", "these only, with long defaults in full")
    .addOption(strategyOption())
    .option("--json", "as JSON, for programs")
    .action(async (names: readonly string[], options: StrategiesOptions) => {
      const { strategies } = await catalogueWith(options.strategy, shell.cwd);
      const chosen =
        names.length === 0 ? [...strategies.values()] : names.map((name) => find(name, strategies));
      const shown = names.length === 0 ? DEFAULT_CHARS_SHOWN : Infinity;
      if (options.json === true) shell.out(JSON.stringify(chosen.map(describe), null, 2));
      else for (const line of chosen.flatMap((strategy) => lines(strategy, shown))) shell.out(line);
      exit(EXIT.settled);
    });
}

interface StrategiesOptions {
  readonly json?: boolean;
  readonly strategy: readonly string[];
}

/** Characters of a default that are shown in the list of all strategies. */
const DEFAULT_CHARS_SHOWN = 60;

function find(name: string, strategies: ReadonlyMap<string, Strategy>): Strategy {
  const strategy = strategies.get(name);
  if (strategy !== undefined) return strategy;
  const hint = suggestion(name, [...strategies.keys()]);
  throw new CoppiceError(
    "not_found",
    `expected the name of a strategy, found ${JSON.stringify(name)}${hint}`,
  );
}

function describe(strategy: Strategy): Readonly<Record<string, unknown>> {
  const { name, version, about, paper, parameters, isIndependentSampling, grows = [] } = strategy;
  const defaults = defaultsOf(strategy);
  return {
    name,
    version,
    about,
    paper,
    parameters,
    independent_samples: isIndependentSampling,
    grows,
    needs: strategy.needs(defaults),
    cost: strategy.cost(defaults),
    cost_formula: strategy.costFormula,
  };
}

function lines(strategy: Strategy, defaultChars: number): readonly string[] {
  const defaults = defaultsOf(strategy);
  const { rollouts, verifications } = strategy.cost(defaults);
  const needs = needsText(strategy.needs(defaults));
  return [
    `${strategy.name}: ${strategy.about}`,
    `  ${strategy.paper}`,
    `  cost: ${strategy.costFormula}`,
    `  by default at most ${rollouts} rollouts and ${verifications} verifications per task${needs}`,
    ...Object.entries(strategy.parameters).map(
      ([name, parameter]) =>
        `    ${name} (${typeOf(parameter)}, default ${cut(JSON.stringify(parameter.default), defaultChars)}): ${parameter.about}`,
    ),
    "",
  ];
}

function needsText({
  processVerifier = false,
  likelihood = false,
  logprobs = false,
  tools = [],
}: Needs): string {
  const needs = [
    ...(processVerifier ? ["a process_verifier"] : []),
    ...(likelihood ? ["a host that tells likelihoods"] : []),
    ...(logprobs ? ["a host that tells log-probabilities"] : []),
    ...(tools.length > 0 ? [`the tools ${tools.join(", ")}`] : []),
  ];
  return needs.length === 0 ? "" : `; needs ${needs.join(" and ")}`;
}

function cut(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax).toWellFormed()}...`;
}

function typeOf(parameter: Parameter): string {
  switch (parameter.type) {
    case "integer":
    case "number":
      return `${parameter.type} ${parameter.min}..${parameter.max}`;
    case "choice":
      return parameter.choices.join(" | ");
    case "strings":
      return "list of texts";
    case "text":
      return "text";
    case "texts":
      return `at most ${parameter.max} named texts`;
  }
}

function defaultsOf(strategy: Strategy): ParameterValues<Strategy["parameters"]> {
  return Object.fromEntries(
    Object.entries(strategy.parameters).map(([name, parameter]) => [name, parameter.default]),
  );
}
