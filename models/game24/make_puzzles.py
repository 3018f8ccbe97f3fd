"""Write demo-puzzles.jsonl: 48 puzzles of 1..13, a third each easy, medium, hard, none of the test set."""

import argparse
import itertools
import json
import random

import puzzle


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=str(puzzle.DEMO_PUZZLES), help="file to write")
    parser.add_argument("--seed", type=int, default=24, help="seed of the selection")
    arguments = parser.parse_args()
    lines = [
        {"id": f"demo-{i:02d}", "prompt": puzzle.prompt_text(state), "reference": str(puzzle.GOAL)}
        for i, state in enumerate(choose(arguments.seed))
    ]
    with open(arguments.out, "w") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def choose(seed):
    """48 states; the fewer solutions a puzzle has, the harder it counts. Easy, medium and hard take turns."""
    rng = random.Random(seed)
    published = set(puzzle.published_test())
    states = itertools.combinations_with_replacement(range(1, 14), 4)
    states = [s for s in states if s not in published and puzzle.solvable(s)]
    states.sort(key=lambda s: (-puzzle.count_solutions(s), s))
    third = len(states) // 3
    tiers = [rng.sample(states[i * third : (i + 1) * third], 16) for i in range(3)]
    return [state for turn in zip(*tiers) for state in turn]


if __name__ == "__main__":
    main()
