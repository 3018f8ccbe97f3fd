/**
 * `coppice plan`: how long a sweep will take on so many hosts, how many GPU-hours, and what limits it; before
 * any is booked.
 */
import { type Command, InvalidArgumentError } from "commander";
import type { Sweep } from "../../coordinator/sweep.ts";
import { renderPrompt } from "../../coordinator/sweep-file/prompt-template.ts";
import { type Plan, planSweep } from "../../planner/plan.ts";
import {
  type Assumptions,
  DEFAULT_ASSUMPTIONS,
  type SweepShapes,
  shapesOf,
} from "../../planner/sweep-shapes.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { suggestion } from "../../runtime/nearest.ts";
import {
  ENGINE_PROFILE_NAMES,
  type EngineProfile,
  engineProfile,
  isEngineProfileName,
} from "../../../workers/rollout/drivers/simulated/engine-profile.ts";
import { EXIT } from "../exit-status.ts";
import { type LoadedSweep, loadSweep } from "../load-sweep.ts";
import { duration, jsonOption, setOption, wholeNumber } from "../options.ts";
import { planJson, planLines } from "../plan-report.ts";
import type { Shell } from "../shell.ts";

interface PlanOptions {
  readonly hostProfile: string;
  readonly hosts: number;
  readonly kvTokens?: number;
  readonly tokensPerRollout?: number;
  readonly stepsPerAnswer: number;
  readonly verification: number;
  readonly passRate: number;
  readonly problems?: number;
  readonly json: boolean;
  readonly set: readonly string[];
}

/** Prompts that are read for their lengths; of more problems every so-manieth. */
const PROMPTS_READ_MAX = 2_000;
const CHARS_PER_TOKEN = 4;

export function planCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("plan")
    .description(
      "say how long a sweep will take on so many hosts, how many GPU-hours, and what limits it: a model, nothing is run",
    )
    .argument("<sweep>", "the sweep file (YAML or JSON)")
    .requiredOption("--host-profile <name>", `what a host is like: ${ENGINE_PROFILE_NAMES.join(", ")}`)
    .requiredOption("--hosts <n>", "how many there are", wholeNumber(1))
    .option("--kv-tokens <n>", "tokens of a host's KV cache; the profile's when absent", wholeNumber(1))
    .option(
      "--tokens-per-rollout <mean>",
      "completion tokens of a whole answer; half of max_tokens when absent",
      wholeNumber(1),
    )
    .option(
      "--steps-per-answer <n>",
      "steps after which an answer ends, for strategies that sample step by step (max_steps, if that is less)",
      wholeNumber(1),
      DEFAULT_ASSUMPTIONS.stepsPerAnswer,
    )
    .option(
      "--verification <duration>",
      "time of a verification that no host does",
      duration,
      DEFAULT_ASSUMPTIONS.verificationMs,
    )
    .option(
      "--pass-rate <share>",
      "share of answers that are correct, from 0 to 1: what stops searches early",
      share,
      DEFAULT_ASSUMPTIONS.passRate,
    )
    .option("--problems <n>", "problems to simulate; the rest is scaled up", wholeNumber(2))
    .addOption(jsonOption())
    .addOption(setOption())
    .action(async (path: string, options: PlanOptions) => exit(await plan(path, options, shell)));
}

async function plan(path: string, options: PlanOptions, shell: Shell): Promise<number> {
  const profile = profileOf(options);
  const loaded = await loadSweep(path, shell, {
    overrides: options.set,
    skipInvalid: false,
    destination: "here",
  });
  const { sweep, check } = loaded;
  const prompts = await promptsOf(loaded);
  const assumptions: Assumptions = {
    tokensPerRollout: options.tokensPerRollout ?? null,
    stepsPerAnswer: options.stepsPerAnswer,
    verificationMs: options.verification,
    passRate: options.passRate,
  };
  const shapes = shapesOf(sweep, assumptions, prompts);
  refuseTooLong({ sweep, shapes, prompts, profile });
  const made = planSweep({
    shapes: shapes.shapes,
    problems: check.count,
    promptTokens: prompts.tokens,
    profile,
    hosts: options.hosts,
    sample: options.problems ?? null,
    seed: sweep.seed,
  });
  report(made, { sweep, profile, assumptions, shapes, prompts, isJson: options.json, shell });
  return EXIT.settled;
}

function report(
  made: Plan,
  {
    isJson,
    shell,
    ...facts
  }: {
    readonly sweep: Sweep;
    readonly profile: EngineProfile;
    readonly assumptions: Assumptions;
    readonly shapes: SweepShapes;
    readonly prompts: Prompts;
    readonly isJson: boolean;
    readonly shell: Shell;
  },
): void {
  if (isJson) shell.out(JSON.stringify(planJson(made, facts)));
  else for (const line of planLines(made, facts)) shell.out(line);
}

function profileOf({ hostProfile, kvTokens }: PlanOptions): EngineProfile {
  if (!isEngineProfileName(hostProfile)) {
    const hint = suggestion(hostProfile, ENGINE_PROFILE_NAMES);
    const message = `--host-profile: expected the name of a profile, found ${JSON.stringify(hostProfile)}${hint}`;
    throw new CoppiceError("invalid_argument", message);
  }
  return engineProfile(hostProfile, kvTokens === undefined ? {} : { kvCapacityTokens: kvTokens });
}

export interface Prompts {
  /** What all of them begin with, and what each has beside it. */
  readonly rootTokens: number;
  readonly tokens: readonly number[];
  /** Mean of `tokens`. */
  readonly ownTokens: number;
}

/** Lengths of rendered prompts, by characters: no tokenizer is at hand. */
async function promptsOf(loaded: LoadedSweep): Promise<Prompts> {
  const { sweep, check } = loaded;
  const every = Math.ceil(check.count / PROMPTS_READ_MAX);
  const chars: number[] = [];
  let first: string | null = null;
  let shared = 0;
  let place = 0;
  for await (const problem of loaded.problems()) {
    place += 1;
    if ((place - 1) % every !== 0) continue;
    const prompt = renderPrompt(sweep.promptTemplate, problem);
    shared = first === null ? prompt.length : commonLength(first, prompt, shared);
    first ??= prompt;
    chars.push(prompt.length);
  }
  const rootTokens = chars.length < 2 ? 0 : Math.floor(shared / CHARS_PER_TOKEN);
  const tokens = chars.map((each) => Math.max(1, Math.ceil(each / CHARS_PER_TOKEN) - rootTokens));
  return { rootTokens, tokens, ownTokens: tokens.reduce((sum, each) => sum + each, 0) / tokens.length };
}

function commonLength(a: string, b: string, max: number): number {
  let length = 0;
  while (length < max && length < b.length && a.charCodeAt(length) === b.charCodeAt(length)) length += 1;
  return length;
}

/** A rollout that no host could hold is an error of the sweep or the profile, not of the model. */
function refuseTooLong({
  sweep,
  prompts,
  profile,
}: {
  readonly sweep: Sweep;
  readonly shapes: SweepShapes;
  readonly prompts: Prompts;
  readonly profile: EngineProfile;
}): void {
  const longest = prompts.rootTokens + prompts.tokens.reduce((most, each) => Math.max(most, each), 0);
  const answer = sweep.arms.reduce((most, { sampling }) => Math.max(most, sampling.maxTokens), 0);
  const limit = Math.min(profile.kvCapacityTokens, profile.contextTokens);
  if (longest + answer <= limit) return;
  const found = `found a prompt of about ${longest} and max_tokens ${answer}`;
  throw new CoppiceError(
    "invalid_argument",
    `profile ${profile.name}: expected prompts and answers to fit ${limit} tokens together, ${found}`,
  );
}

function share(text: string): number {
  const value = Number(text);
  if (text === "" || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError("Expected a share from 0 to 1.");
  return value;
}
