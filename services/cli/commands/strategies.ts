/** `coppice strategies`: every strategy, its paper, its parameters with their defaults, and what a task of it costs. */
import type { Command } from "commander";
import type { Needs, Parameter, ParameterValues, Strategy } from "../../search/strategy.ts";
import { strategyOption } from "../options.ts";
import { EXIT } from "../exit-status.ts";
import type { Shell } from "../shell.ts";
import { catalogueWith } from "../strategy-modules.ts";

export function strategiesCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("strategies")
    .description("list the strategies: parameters, defaults, paper, cost of a task")
    .addOption(strategyOption())
    .option("--json", "as JSON, for programs")
    .action(async (options: { readonly json?: boolean; readonly strategy: readonly string[] }) => {
      const { strategies } = await catalogueWith(options.strategy, shell.cwd);
      const all = [...strategies.values()];
      if (options.json === true) shell.out(JSON.stringify(all.map(describe), null, 2));
      else for (const line of all.flatMap(lines)) shell.out(line);
      exit(EXIT.settled);
    });
}

function describe(strategy: Strategy): Readonly<Record<string, unknown>> {
  const { name, version, about, paper, parameters, isIndependentSampling } = strategy;
  const defaults = defaultsOf(strategy);
  return {
    name,
    version,
    about,
    paper,
    parameters,
    independent_samples: isIndependentSampling,
    needs: strategy.needs(defaults),
    cost: strategy.cost(defaults),
    cost_formula: strategy.costFormula,
  };
}

function lines(strategy: Strategy): readonly string[] {
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
        `    ${name} (${typeOf(parameter)}, default ${JSON.stringify(parameter.default)}): ${parameter.about}`,
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
