"""Measure a model on held-out puzzles: pass@k of sampled continuations, and how well `?` tells good from bad.

Run as a program, it writes what check-engine.mjs compares llama.cpp with.
"""

import argparse
import json
import math
import random
import re

import numpy as np
import torch

import model as models
import puzzle
import vocabulary

TEMPERATURE = 0.8
TOKENS_MAX = 28
N = r"(?:0|[1-9]\d{0,2})"  # a number that is one token
LINES = [rf"{N} [-+*/] {N} = {N} left(?: {N}){{{count}}}\n" for count in (3, 2, 1)]
SHAPES = [re.compile("".join(LINES[:depth])) for depth in range(4)]  # of so many steps, true or not
PASSES = (1, 8, 64)


def report(model, samples, seed):
    """Print the figures for the published test set and for the demo puzzles."""
    torch.manual_seed(seed)
    sets = {"demo puzzles": puzzle.demo_puzzles()}
    if puzzle.PUBLISHED_TEST.exists():
        sets["published test, 900-999"] = puzzle.published_test()
    for name, states in sets.items():
        texts = {state: sample(model, puzzle.prompt_text(state), samples) for state in states}
        correct = [sum(puzzle.is_correct(state, text) for text in texts[state]) for state in states]
        passes = {k: np.mean([pass_at(k, samples, c) for c in correct]) for k in PASSES if k <= samples}
        print(f"{name}: {len(states)} puzzles, {samples} samples each, temperature {TEMPERATURE}:",
              *(f"pass@{k} {p:.4f}" for k, p in passes.items()), flush=True)
        for depth in (1, 2):
            prefixes = [prefix for state in states for prefix in true_prefixes(state, depth)]
            figures = value_figures(model, prefixes, random.Random(seed))
            print(f"{name}: value after every true step {depth}:", figures, flush=True)
        for depth in (1, 2, 3):
            prefixes = [prefix for state in states for prefix in own_prefixes(state, depth, texts[state])]
            figures = value_figures(model, prefixes, random.Random(seed))
            print(f"{name}: value after sampled step {depth}:", figures, flush=True)


@torch.no_grad()
def sample(model, prompt, count):
    """`count` continuations of a prompt, sampled at TEMPERATURE from the whole distribution."""
    start = vocabulary.encode(prompt)
    columns, cache = [torch.tensor([start] * count)], {}
    for _ in range(TOKENS_MAX):
        logits = model(columns[-1], outputs=slice(-1, None), cache=cache)[:, 0] / TEMPERATURE
        columns.append(torch.multinomial(logits.softmax(-1), 1))
    return [vocabulary.decode(row) for row in torch.cat(columns[1:], 1).tolist()]


def pass_at(k, n, correct):
    """The unbiased estimator of Chen et al. 2021: 1 - C(n - c, k) / C(n, k)."""
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


@torch.no_grad()
def value_figures(model, prefixes, rng, limit=4000):
    """AUC and accuracy over labelled prefixes (at most `limit`, drawn at random)."""
    prefixes = rng.sample(prefixes, min(limit, len(prefixes)))
    ids = torch.tensor([vocabulary.encode(text + "?") for text, _ in prefixes])
    logits = torch.cat([model(part, outputs=slice(-1, None))[:, 0] for part in ids.split(256)])
    margin = (logits[:, vocabulary.GOOD] - logits[:, vocabulary.BAD]).numpy()
    good = np.array([label for _, label in prefixes])
    balanced = ((margin[good] > 0).mean() + (margin[~good] <= 0).mean()) / 2
    accuracy = ((margin > 0) == good).mean()
    return (f"{len(good)} prefixes, {good.mean():.3f} of them good, AUC {auc(margin, good):.4f}, "
            f"accuracy {accuracy:.4f}, balanced accuracy {balanced:.4f}")


def true_prefixes(state, depth, text=None):
    """Every (prompt with `depth` true steps, whether 24 is still within reach)."""
    text = puzzle.prompt_text(state) if text is None else text
    if depth == 0:
        return [(text, puzzle.solvable(state))]
    steps = puzzle.steps_from(state)
    return [found for step in steps for found in true_prefixes(step.left, depth - 1, text + step.text())]


def own_prefixes(state, depth, texts):
    """Every (prompt with the first `depth` steps of a sample, its label), of samples in the step format."""
    steps = [match[0] for match in map(SHAPES[depth].match, texts) if match]
    return [(puzzle.prompt_text(state) + text, puzzle.is_good(state, text)) for text in steps]


def auc(scores, labels):
    """The probability that a good prefix scores above a bad one; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = labels.sum()
    return (ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


@torch.no_grad()
def engine_reference(model):
    """For some texts: token ids, the ten likeliest next tokens and their probabilities, greedy text."""
    states = puzzle.demo_puzzles()[:12]
    texts = [puzzle.prompt_text(state) for state in states]
    for depth in (1, 2):
        texts += [true_prefixes(state, depth)[7][0] for state in states[:6]]
    texts += [text + "?" for text in texts[6:]]
    cases = []
    for text in texts:
        start = vocabulary.encode(text)
        top = model(torch.tensor([start]))[0, -1].softmax(-1).topk(10)
        ids = list(start)
        while len(ids) < len(start) + TOKENS_MAX and ids[-1] != vocabulary.EOS:
            ids.append(model(torch.tensor([ids]))[0, -1].argmax().item())
        greedy = [i for i in ids[len(start) :] if i != vocabulary.EOS]
        cases.append({"text": text, "ids": start, "top": [*zip(top.indices.tolist(), top.values.tolist())],
                      "greedy": greedy[:1] if text.endswith("?") else greedy})
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("reference", help="JSON file to write")
    arguments = parser.parse_args()
    with open(arguments.reference, "w") as file:
        json.dump(engine_reference(models.load(arguments.model)), file)


if __name__ == "__main__":
    main()
