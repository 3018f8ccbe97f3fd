/** The default prompts of trees of thoughts: the Game of 24, as in the paper, with examples of our own. */

const EXAMPLE = "2 8 8 14";

export const PROPOSE = `Input: ${EXAMPLE}
Possible next steps:
2 + 8 = 10 (left: 8 10 14)
8 / 2 = 4 (left: 4 8 14)
2 * 8 = 16 (left: 8 14 16)
14 - 8 = 6 (left: 2 6 8)
14 / 2 = 7 (left: 7 8 8)
14 - 2 = 12 (left: 8 8 12)
Input: {state}
Possible next steps:
`;

export const PROPOSE_LAST = `Use the numbers and + - * / to obtain 24. Each step joins two of the numbers that are left.
Input: ${EXAMPLE}
Steps:
8 / 2 = 4 (left: 4 8 14)
14 - 8 = 6 (left: 4 6)
4 * 6 = 24 (left: 24)
Answer: (14 - 8) * (8 / 2) = 24
Input: {problem}
Steps:
{path}`;

export const VALUE = `Can the numbers reach 24 with + - * /? Think briefly, then say sure, likely or impossible on a line of its own.
4 6
4 * 6 = 24
sure
9 10 13
13 - 10 = 3
9 * 3 = 27
9 + 3 = 12
it is not certain, but the numbers are of the right size
likely
1 3
1 * 3 = 3
1 + 3 = 4
both are far too small
impossible
{state}
`;

export const VALUE_LAST = `Is the answer an expression that uses each number of the input exactly once and equals 24? Say sure or impossible.
Input: ${EXAMPLE}
Answer: (14 - 8) * (8 / 2) = 24
Judge:
sure
Input: ${EXAMPLE}
Answer: 14 + 8 + 2 = 24
Judge:
impossible
Input: {problem}
{step}
Judge:
`;

export const VOTE = `Several ways to go on with the problem are listed. Compare them, then conclude on the last line with
"The best choice is N", N being the number of the choice.
{problem}
{choices}`;
