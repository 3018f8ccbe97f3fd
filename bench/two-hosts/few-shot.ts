/** A long prompt before each puzzle: what is to be done, and solved examples, in letters only (see `long-prompt-model.ts`). */
import type { Random } from "../../services/runtime/random.ts";
import { BEGIN } from "./long-prompt-model.ts";

const EXAMPLES = [
  "Four, five, six and ten. Ten less four makes six; five times six makes thirty; thirty less six makes twenty four.",
  "One, two, three and four. Four times three makes twelve; twelve times two makes twenty four; once that is twenty four.",
  "Two, two, two and three. Two times two makes four; four times two makes eight; eight times three makes twenty four.",
  "Six, six, six and six. Six and six makes twelve; twelve and six makes eighteen; eighteen and six makes twenty four.",
  "Five, five, five and nine. Five and five makes ten; ten and five makes fifteen; fifteen and nine makes twenty four.",
  "Three, seven, seven and seven. Seven and seven makes fourteen; with seven, twenty one; with three, twenty four.",
  "One, three, eight and twelve. Twelve and eight makes twenty; twenty and three and one makes twenty four.",
  "Two, four, six and twelve. Twelve and six makes eighteen; eighteen and four and two makes twenty four.",
];
const TASK = "Join four numbers, each of them once, until twenty four remains.";

/** Where the sweep finds them: they are a part of the problem, which may have its own. */
export const FEW_SHOT_TEMPLATE = `{metadata.examples}${BEGIN}{prompt}\n`;

/** The examples in an order of their own. */
export function examplesInOrder(random: Random): string {
  const left = [...EXAMPLES];
  const chosen = [TASK];
  while (left.length > 0) chosen.push(...left.splice(Math.floor(random.next() * left.length), 1));
  return chosen.join(" ");
}

/** The tokens of a rendered prompt: each letter is one, and each number of the puzzle. */
export function tokensOfPrompt(examples: string, puzzle: string): readonly string[] {
  return [...Array.from(examples), BEGIN, ...puzzle.split(" "), "\n"];
}
