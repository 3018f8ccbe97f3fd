/** Verifiers that misbehave as their candidate's text says, for tests of the pool. No kind of production. */
import { correct, defineVerifier, incorrect, type Verifier } from "../../workers/verify/verifier.ts";

const stubborn = defineVerifier({
  kind: "stubborn",
  about: "Does what the text says.",
  options: {},
  verify({ text }) {
    const [command = "", argument = ""] = text.split(" ");
    switch (command) {
      case "hang":
        for (;;) if (Date.now() < 0) return correct(null);
      case "hoard": {
        const hoard: object[] = [];
        for (;;) hoard.push(Array.from({ length: 10_000 }, () => ({})));
      }
      case "recurse": {
        const deeper = (depth: number): number => deeper(depth + 1) + depth;
        return correct(String(deeper(0)));
      }
      case "exit":
        return process.exit(3);
      case "throw":
        throw new Error("thrown on purpose");
      case "random":
        return correct(String(Math.random()));
      default:
        return incorrect(argument, "not asked for anything");
    }
  },
});

export const VERIFIERS: readonly Verifier[] = [stubborn];
