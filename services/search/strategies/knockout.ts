import { answerText, answerTo, finish } from "../candidate.ts";
import { chosenIn } from "../choice.ts";
import { excerpt } from "../excerpt.ts";
import { all, gatherArrived, orNull } from "../operations.ts";
import type { Candidate, Prefix, Program } from "../program.ts";
import { byScore, outcomeOf } from "../selection.ts";
import { sampleWithin } from "../steps.ts";
import type { BudgetWatch } from "../steps.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";
import { complaintAboutFields, pathFrom } from "../template.ts";

const PARAMETERS = {
  n: { type: "integer", default: 16, min: 1, max: 10_000, about: "N: answers that enter." },
  votes: {
    type: "integer",
    default: 1,
    min: 1,
    max: 100,
    about: "K: judgements of a match in each of its two orders.",
  },
  temperature: {
    type: "number",
    default: 0,
    min: 0,
    max: 2,
    about: "Of the judge; above 0 where it votes more than once.",
  },
  template: {
    type: "text",
    default:
      "{prompt}\n\nHere are two answers to this.\n\nAnswer 1:\n{first}\n\nAnswer 2:\n{second}\n\n" +
      "The better one is Answer",
    about: "Asks for the number of the better one of {first} and {second}.",
  },
  answer_chars: {
    type: "integer",
    default: 8000,
    min: 16,
    max: 100_000,
    about: "Characters of an answer that the judge sees; of a longer one its beginning and its end.",
  },
  judge_tokens: {
    type: "integer",
    default: 16,
    min: 1,
    max: 100_000,
    about: "Tokens of a judgement at most.",
  },
  judge_stop: { type: "strings", default: ["\n"], about: "Strings that end a judgement." },
} as const satisfies Readonly<Record<string, Parameter>>;

/** What all matches share. */
interface Tournament extends ParameterValues<typeof PARAMETERS> {
  readonly prompt: Prefix;
  /** Once the budget refused a rollout, votes are lost, so draws. */
  readonly watch: BudgetWatch;
}

/**
 * A knockout of N answers in ceil(log2 N) rounds. The bracket is by index, those without an opponent pass. In a match the
 * model compares two answers K times in each order, because it favours a position; more votes win, a draw is decided by the
 * verifier's score and then the lower index. Equal answers are not compared. A match starts as soon as its two answers are
 * known, whatever its round does. A lost answer loses its match, a lost or unreadable vote is not counted.
 */
export const knockout: Strategy<typeof PARAMETERS> = {
  name: "knockout",
  version: 1,
  about: "Samples n answers and lets the model compare them in pairs until one is left.",
  paper: "Chen et al. 2024, Provable Scaling Laws for the Test-Time Compute of LLMs, arXiv 2411.19477",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  // Two matches may come to ask the same prompt; which of them has its first sample depends on arrival.
  isOrderAdaptive: true,
  extendsRollouts: false,
  needs: () => ({}),
  costFormula: "n + 2 * votes * (n - 1) rollouts, n verifications",
  cost: ({ n, votes }) => ({ rollouts: n + 2 * votes * (n - 1), verifications: n }),
  check: ({ template }) => complaintAboutFields("template", template, ["first", "second"]),

  *search(prompt, parameters) {
    const tournament: Tournament = { ...parameters, prompt, watch: { refused: null } };
    const champion = yield* winner(tournament, { round: Math.ceil(Math.log2(parameters.n)), slot: 0 });
    return outcomeOf(champion, "model-choice");
  },
};

interface Place {
  /** 0 for the answers themselves. */
  readonly round: number;
  readonly slot: number;
}

/**
 * Who holds a place of the bracket: slot k of a round is played for by slots 2k and 2k + 1 of the one before. Throws LostError
 * where all answers below it are lost.
 */
function* winner(tournament: Tournament, { round, slot }: Place): Program<Candidate> {
  if (round === 0) return yield* enter(tournament, slot);
  const rivals = [2 * slot, 2 * slot + 1].filter((rival) => rival * 2 ** (round - 1) < tournament.n);
  const { arrived } = yield* gatherArrived(
    rivals.map((rival) => winner(tournament, { round: round - 1, slot: rival })),
  );
  // Never empty, and at most as many as the rivals.
  const [a, b] = arrived as readonly [Candidate, Candidate?];
  return b === undefined ? a : yield* match(tournament, [a, b]);
}

function* enter({ prompt, watch }: Tournament, index: number): Program<Candidate> {
  const rollout = yield* sampleWithin(watch, prompt);
  return yield* finish(answerTo(prompt, { ...rollout, index }));
}

function* match(tournament: Tournament, [a, b]: readonly [Candidate, Candidate]): Program<Candidate> {
  let lead = 0;
  if (a.prefix !== b.prefix) {
    const votes = Array.from({ length: tournament.votes }, () => [
      vote(tournament, [a, b]),
      vote(tournament, [b, a]),
    ]);
    for (const better of yield* all(votes.flat())) lead += Number(better === a) - Number(better === b);
  }
  const isFirst = lead === 0 ? byScore(a, b) < 0 : lead > 0;
  return isFirst ? a : b;
}

/** The one that the judge calls better; null where it cannot be read, or is lost. */
function* vote(tournament: Tournament, pair: readonly [Candidate, Candidate]): Program<Candidate | null> {
  const { prompt, watch, template, answer_chars, temperature, judge_tokens, judge_stop } = tournament;
  const [first, second] = pair.map((candidate) => excerpt(answerText(candidate, prompt), answer_chars));
  const question = yield* pathFrom(template, prompt, { first: first ?? "", second: second ?? "" });
  const options = { temperature, maxTokens: judge_tokens, stop: judge_stop };
  const reply = yield* orNull(sampleWithin(watch, question, options));
  const chosen = reply === null ? null : chosenIn(reply.text, pair.length);
  return chosen === null ? null : (pair[chosen] ?? null);
}
