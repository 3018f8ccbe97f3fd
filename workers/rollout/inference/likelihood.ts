/** How likely the model itself finds the last piece of a path behind the rest of it. */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { defineInferenceVerifier } from "./inference-verifier.ts";

export const likelihood = defineInferenceVerifier({
  kind: "likelihood",
  about: "The mean log-probability of the path's last piece behind the rest, per token.",
  isTool: true,
  options: {},
  async judge({ path }, { driver }, signal) {
    const continuation = path.at(-1);
    if (continuation === undefined || path.length < 2)
      throw new CoppiceError(
        "invalid_argument",
        "likelihood: expected a path of two pieces or more, found one",
      );
    const { meanLogprob, usage } = await driver.likelihood(
      { pieces: path.slice(0, -1), continuation },
      signal,
    );
    return {
      result: {
        kind: "verdict",
        verdict: "undecided",
        score: meanLogprob,
        answer: null,
        reason: "a likelihood",
      },
      usage,
    };
  },
});
