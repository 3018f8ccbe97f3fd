import { answerTo, finish } from "../candidate.ts";
import type { FinishedPath } from "../candidate.ts";
import { inStep, propose, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { lastCodeBlock } from "../code-block.ts";
import { REASON_CHARS, reasonOf } from "../failure.ts";
import { orNull, sample, useTool, writePrompt } from "../operations.ts";
import type { Candidate, Prefix, Program, Rollout, Verdict } from "../program.ts";
import { selectRevision } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { fillTemplate, pathFrom } from "../template.ts";

const PARAMETERS = {
  trials: { type: "integer", default: 5, min: 1, max: 1000, about: "Trials of a chain at most." },
  chains: { type: "integer", default: 1, min: 1, max: 10_000, about: "Chains beside each other." },
  memory: { type: "integer", default: 3, min: 1, max: 1000, about: "Lessons kept: the latest ones." },
  signal: {
    type: "choice",
    default: "verifier",
    choices: ["verifier", "own-tests"],
    about:
      "What says that a trial failed. verifier: the outcome verifier; own-tests: tests that the model wrote, run as Python.",
  },
  trial: {
    type: "text",
    default: "{prompt}\n\nLessons of earlier attempts:\n{lessons}\n\nAnswer:\n",
    about:
      "Begins a trial once there is a lesson; before, it is the problem's prompt. {lessons}: one a line; {prompt}.",
  },
  reflect: {
    type: "text",
    default:
      "\n\nThis attempt failed:\n{reason}\n\nIn a few sentences: what to do otherwise next time?\n\nLesson:\n",
    about: "Asks for a lesson, behind a failed attempt. {reason}: what the signal says.",
  },
  tests: {
    type: "text",
    default:
      "{prompt}\n\nDo not answer it yet. Write Python assert statements that a right program passes, in a code block.\n\n",
    about: "Asks for tests, for the signal own-tests. {prompt}: the problem's prompt.",
  },
  reason_chars: REASON_CHARS,
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Reflexion: mem = []; loop: y_t ~ g(x, mem), from scratch; stop if the signal says that it succeeded or t is
 * the last; l_t ~ g(x, mem, y_t, failure), a lesson in words; mem = the latest m of mem and l_t. The signal
 * is the sweep's verifier, or tests that the model wrote for the problem, once, before it saw an answer: then
 * verdicts are only for the selection, at the end. Every y_t is a candidate, the highest score wins, ties go
 * to the lowest chain and there to the earliest. A lost rollout ends its chain, and so does a lost signal:
 * there is nothing to learn from; the chain keeps what it has.
 */
export const reflexion: Strategy<typeof PARAMETERS> = {
  name: "reflexion",
  version: 1,
  about: "Tries again from scratch with lessons that the model drew in words from its failed trials.",
  paper: "Shinn et al. 2023, Reflexion, arXiv 2303.11366, algorithm 1",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: ({ signal }) => (signal === "own-tests" ? { tools: ["python"] } : {}),
  costFormula:
    "at most chains * (2 * trials - 1) rollouts and chains * trials verifications; own-tests: one rollout more, twice the verifications",
  cost({ chains, trials, signal }) {
    const hasOwnTests = signal === "own-tests";
    return {
      rollouts: chains * (2 * trials - 1) + (hasOwnTests ? 1 : 0),
      verifications: chains * trials * (hasOwnTests ? 2 : 1),
    };
  },

  *search(prompt, { trials, chains, memory, signal, trial, reflect, tests, reason_chars }) {
    const candidates: Candidate[] = [];
    const testing = yield* pathFrom(tests, prompt);
    let ownTests: string | null = null;

    function* writeTests(): Chain {
      const written = programIn((yield* turn(sample(testing))).text);
      ownTests = written.trim() === "" ? null : written;
    }

    /** What is known of an attempt's success; null when nothing is. */
    function* judged(answer: FinishedPath, text: string): Chain<Verdict | null> {
      if (signal === "own-tests") {
        yield* propose(answer, candidates);
        return ownTests === null ? null : yield* turn(orNull(runTests(programIn(text), ownTests)));
      }
      const candidate = yield* turn(finish(answer));
      candidates.push(candidate);
      return candidate.verdict;
    }

    function* chain(number: number): Chain {
      const lessons: string[] = [];
      for (let t = 0; t < trials; t++) {
        const { rollout, path } = yield* turn(attempt(prompt, { trial, lessons: lessons.slice(-memory) }));
        const answer = answerTo(prompt, { ...rollout, index: number * trials + t });
        const verdict = yield* judged(answer, rollout.text);
        if (verdict === null || verdict.verdict === "correct" || t === trials - 1) return;
        const reason = reasonOf(verdict, reason_chars);
        const lesson = yield* turn(sample(path.extend(fillTemplate(reflect, { reason }))));
        lessons.push(lesson.text.trim());
      }
    }

    // In step: the tests are asked for beside the first trials, and are there before those are judged.
    const writers = signal === "own-tests" ? [writeTests()] : [];
    const lost = yield* inStep([...writers, ...repeat(chains, chain)]);
    return selectRevision(candidates, { length: trials, lost });
  },
};

interface Attempt {
  readonly rollout: Rollout;
  /** From which it was sampled, itself included. */
  readonly path: Prefix;
}

function* attempt(
  prompt: Prefix,
  { trial, lessons }: { readonly trial: string; readonly lessons: readonly string[] },
): Program<Attempt> {
  const list = lessons.map((lesson) => `- ${lesson}`).join("\n");
  const from = lessons.length === 0 ? prompt : yield* pathFrom(trial, prompt, { lessons: list });
  const rollout = yield* sample(from);
  return { rollout, path: from.extend(rollout.text, rollout.ask) };
}

/** Runs a program and tests of it in one: correct when no test fails. */
function* runTests(program: string, tests: string): Program<Verdict> {
  return yield* useTool("python", yield* writePrompt(`${program}\n\n${tests}\n`));
}

/** The program in a text; the whole text where it marks none. */
function programIn(text: string): string {
  return lastCodeBlock(text) ?? text;
}
