import { answerTo } from "../candidate.ts";
import { inStep, propose, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { sample } from "../operations.ts";
import type { Candidate } from "../program.ts";
import { selectRevision } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { fillTemplate } from "../template.ts";

const PARAMETERS = {
  attempts: {
    type: "integer",
    default: 4,
    min: 1,
    max: 1000,
    about: "Answers of a chain at most, the first one included.",
  },
  chains: { type: "integer", default: 1, min: 1, max: 10_000, about: "K: chains beside each other." },
  feedback: {
    type: "text",
    default:
      '\n\nCheck this answer. Say what is wrong with it and how to mend it; write only "{ok}" if nothing is.\n\nFeedback:\n',
    about: "Asks for feedback, behind the answer. {ok}: the words that end the loop.",
  },
  refine: {
    type: "text",
    default: "\n\nThe whole answer again, mended as the feedback says:\n",
    about: "Asks for the next answer, behind the feedback.",
  },
  ok: {
    type: "text",
    default: "OK",
    about:
      "A line of feedback with these words alone, in whatever case and punctuation, ends the loop; empty: none does.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Self-Refine: y_0 ~ g(x); loop: fb_t ~ g(x, y_0, fb_0, ..., y_t, ask for feedback); stop if fb_t says that
 * all is well or t is the last; y_(t+1) ~ g(x, y_0, fb_0, ..., y_t, fb_t, ask to refine). The history is
 * kept, so that each prompt has the one before and what the model said there as prefix. The loop is
 * intrinsic: no verdict is told. Every y_t is a candidate, and not the last but the highest score wins, since
 * refining can make an answer worse; ties go to the lowest chain and there to the earliest. A lost rollout
 * ends its chain, which keeps what it has.
 */
export const selfRefine: Strategy<typeof PARAMETERS> = {
  name: "self-refine",
  version: 1,
  about: "The model criticises its answer and refines it, until it has nothing to say or attempts run out.",
  paper: "Madaan et al. 2023, Self-Refine, arXiv 2303.17651, algorithm 1",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({}),
  costFormula: "at most chains * (2 * attempts - 1) rollouts, chains * attempts verifications",
  cost: ({ chains, attempts }) => ({
    rollouts: chains * (2 * attempts - 1),
    verifications: chains * attempts,
  }),

  *search(prompt, { attempts, chains, feedback, refine, ok }) {
    const candidates: Candidate[] = [];
    const criticise = fillTemplate(feedback, { ok });

    function* chain(number: number): Chain {
      let path = prompt;
      for (let t = 0; ; t++) {
        const answer = yield* turn(sample(path));
        yield* propose(answerTo(prompt, { ...answer, index: number * attempts + t }), candidates);
        if (t === attempts - 1) return;
        path = path.extend(answer.text, answer.ask).extend(criticise);
        const said = yield* turn(sample(path));
        if (saysOnly(ok, said.text)) return;
        path = path.extend(said.text, said.ask).extend(refine);
      }
    }

    const lost = yield* inStep(repeat(chains, chain));
    return selectRevision(candidates, { length: attempts, lost });
  },
};

/** Whether a line of the text has these words and no others. "Not OK" does not say only OK. */
function saysOnly(words: string, text: string): boolean {
  const expected = wordsOf(words);
  return expected !== "" && text.split("\n").some((line) => wordsOf(line) === expected);
}

function wordsOf(line: string): string {
  return (line.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).join(" ");
}
