"""Game of 24 as the model sees it: states, steps, solvability, traces with labels, grading.

A state is an ascending tuple of whole numbers. A step joins two of them; the larger operand is written first:
    10 - 4 = 6 left 5 6 6
Steps are expressible when every number stays a whole number in 0..999 (division only where exact).
"Solvable" and the label `good` always mean: 24 can be reached by expressible steps. There are no fractions.
"""

import itertools
import json
import random
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

GOAL = 24
NUMBER_MAX = 999
HERE = Path(__file__).resolve().parent
PUBLISHED_TEST = HERE.parents[2] / "shared/data/game24/puzzles.jsonl"
DEMO_PUZZLES = HERE / "demo-puzzles.jsonl"

SKIP, BOOKKEEPING, WHOLE = 0, 1, 2  # which tokens of a step carry loss; see Trace.


class Step(NamedTuple):
    """One line of a solution: `a op b = result left ...`."""

    a: int
    op: str
    b: int
    result: int
    left: tuple

    def text(self):
        return f"{self.a} {self.op} {self.b} = {self.result} left {' '.join(map(str, self.left))}\n"


class Trace(NamedTuple):
    """A prompt with three steps.

    `losses[i]` says what of step i is trained: WHOLE for a step that keeps 24 within reach, BOOKKEEPING (all
    that follows the two operands and the operator) for a true step that does not, SKIP for a false step.
    `good[i]` is the value label after i steps, so it has one entry more than there are steps.
    """

    prompt: str
    steps: list
    losses: list
    good: list


def prompt_text(state):
    """The prompt of a puzzle: ascending numbers, a newline."""
    return " ".join(map(str, state)) + "\n"


def steps_from(state):
    """Every distinct expressible step out of a state."""
    found = set()
    for i, j in itertools.combinations(range(len(state)), 2):
        b, a = state[i], state[j]  # ascending, so a >= b
        rest = state[:i] + state[i + 1 : j] + state[j + 1 :]
        results = [("+", a + b), ("-", a - b), ("*", a * b)]
        if b > 0 and a % b == 0:
            results.append(("/", a // b))
        for op, result in results:
            if result <= NUMBER_MAX:
                found.add(Step(a, op, b, result, tuple(sorted(rest + (result,)))))
    return sorted(found)


@lru_cache(maxsize=None)
def solvable(state):
    """Whether expressible steps lead from this state to 24."""
    if len(state) == 1:
        return state[0] == GOAL
    return any(solvable(step.left) for step in steps_from(state))


@lru_cache(maxsize=1 << 16)
def split_steps(state):
    """The steps that keep 24 within reach, and those that lose it."""
    steps = steps_from(state)
    return [s for s in steps if solvable(s.left)], [s for s in steps if not solvable(s.left)]


@lru_cache(maxsize=1 << 16)
def count_solutions(state):
    """How many step sequences lead to 24; the fewer, the harder the puzzle."""
    return 1 if len(state) == 1 else sum(count_solutions(s.left) for s in split_steps(state)[0])


def false_step(state, rng):
    """A step that is wrong on purpose: wrong result, an operand that is not there, or wrong left numbers.

    Half of the wrong results lead to a state from which 24 could be reached, as a model's mistakes do.
    """
    true = rng.choice(steps_from(state))
    rest = list(true.left)
    rest.remove(true.result)
    kind = rng.random()
    if kind < 0.6:
        wrong = _wrong_result(true, rest, rng)
        return true._replace(result=wrong, left=tuple(sorted(rest + [wrong])))
    if kind < 0.8:
        absent = rng.choice([n for n in range(1, 26) if n not in state])
        a, b = max(true.a, absent), min(true.a, absent)
        op = rng.choice("+-*")
        result = min({"+": a + b, "-": a - b, "*": a * b}[op], NUMBER_MAX)
        return Step(a, op, b, result, tuple(sorted(rest + [result])))
    left = list(true.left)
    i = rng.randrange(len(left))
    left[i] = rng.choice([n for n in range(1, 31) if n != left[i]])
    return true._replace(left=tuple(sorted(left)))


def _wrong_result(true, rest, rng):
    """A result other than the true one."""
    if rng.random() < 0.5:
        near = [n for n in range(0, 37) if n != true.result and solvable(tuple(sorted(rest + [n])))]
        if near:
            return rng.choice(near)
    lowest, highest = max(0, true.result - 10), min(NUMBER_MAX, true.result + 10)
    return rng.choice([n for n in range(lowest, highest + 1) if n != true.result])


def sample_trace(state, rng):
    """One training example: half are solutions, the rest leave the path at one step and are bad after it.

    An unsolvable puzzle may be given: it is bad from the start.
    """
    prompt, good, steps, losses = prompt_text(state), [solvable(state)], [], []
    leave_at = rng.choices([None, 0, 1, 2], [50, 25, 19, 6])[0] if good[0] else None
    for i in range(3):
        right, dead = split_steps(state)
        if i == leave_at and (not dead or rng.random() < 0.3):
            step, loss = false_step(state, rng), SKIP
        elif i == leave_at:
            step, loss = rng.choice(dead), BOOKKEEPING
        elif good[-1] or (right and rng.random() < 0.7):
            step, loss = rng.choice(right), WHOLE
        else:
            step, loss = rng.choice(right + dead), BOOKKEEPING
        steps.append(step)
        losses.append(loss)
        state = step.left
        good.append(good[-1] and i != leave_at)
    return Trace(prompt, steps, losses, good)


def is_correct(state, text):
    """Grade a whole continuation: three true steps, the last of which leaves 24, and nothing more."""
    states = true_states(state, text)
    return len(states) == len(state) == 1 + text.count("\n") and text.endswith("\n") and states[-1] == (GOAL,)


def is_good(state, text):
    """The value label of any steps: all of them true, and 24 still within reach."""
    states = true_states(state, text)
    return len(states) == 1 + text.count("\n") and solvable(states[-1])


def true_states(state, text):
    """The state, then those that the lines of the text leave, up to the first that is not a true step."""
    states = [state]
    for line in text.splitlines(keepends=True):
        step = next((s for s in all_spellings(states[-1]) if s.text() == line), None)
        if step is None:
            break
        states.append(step.left)
    return states


def all_spellings(state):
    """The expressible steps, sums and products also with the smaller operand first."""
    for step in steps_from(state):
        yield step
        if step.op in "+*":
            yield step._replace(a=step.b, b=step.a)


def published_test(path=PUBLISHED_TEST):
    """Puzzles 900-999 of the published list, as states."""
    lines = path.read_text().splitlines()[900:1000]
    return [tuple(sorted(map(int, json.loads(line)["prompt"].split()))) for line in lines]


def demo_puzzles(path=DEMO_PUZZLES):
    """The demo puzzles, as states."""
    return [tuple(sorted(map(int, json.loads(s)["prompt"].split()))) for s in path.read_text().splitlines()]


class PuzzleSource:
    """All 4-number puzzles of 1..25 but the held-out ones; numbers above 13 are drawn a quarter as often."""

    def __init__(self, held_out, seed, number_max=25, usual_max=13, rare_weight=0.25):
        held_out = {tuple(sorted(state)) for state in held_out}
        states = itertools.combinations_with_replacement(range(1, number_max + 1), 4)
        states = [s for s in states if s not in held_out]
        self.rng = random.Random(seed)
        self.solvable = [s for s in states if solvable(s)]
        self.unsolvable = [s for s in states if not solvable(s)]
        weights = (rare_weight ** sum(n > usual_max for n in s) for s in self.solvable)
        self.cumulative = list(itertools.accumulate(weights))

    def sample(self):
        """One training trace; one puzzle in twenty is unsolvable."""
        if self.rng.random() < 0.05:
            return sample_trace(self.rng.choice(self.unsolvable), self.rng)
        return sample_trace(self.rng.choices(self.solvable, cum_weights=self.cumulative)[0], self.rng)
