"""Train the tiny Game-of-24 model and write it as GGUF, or evaluate one.

Each training sequence is one trace with a `?` hung on after every step, as a branch that sees the prompt and
the steps before it and that nothing else sees: values are trained on the very prefix that rollouts share.
All traces have the same length, because every number is one token: positions, mask and targets are fixed.
"""

import argparse
import math
import time

import numpy as np
import torch
from torch.nn import functional as F

import evaluate
import model as models
import puzzle
import vocabulary

PROMPT = 6  # tokens: beginning of sequence, four numbers, newline
STEP_ENDS = (16, 25, 33)  # where each step line is over
LENGTH = 33  # the trace without its end-of-sequence token
BRANCHES = (PROMPT, *STEP_ENDS)  # a `?` stands at each of these positions


def parse_arguments():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", default=str(puzzle.HERE / "game24-tiny.gguf"), help="GGUF file to write")
    parser.add_argument("--evaluate", metavar="FILE", help="evaluate this GGUF file and do not train")
    parser.add_argument("--steps", type=int, default=2400, help="optimiser steps")
    parser.add_argument("--minutes", type=float, default=math.inf,
                        help="finish within this time, in fewer steps (then the machine matters)")
    parser.add_argument("--batch", type=int, default=128, help="traces per step")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--feed-forward", type=int, default=384)
    parser.add_argument("--seed", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1, help="one is faster than two at this size")
    parser.add_argument("--checkpoint-every", type=int, default=500, help="steps between writes of --out")
    parser.add_argument("--samples", type=int, default=64, help="continuations per puzzle when evaluating")
    parser.add_argument("--without-test-set", action="store_true",
                        help="train although the published test set is absent, so that it is not held out")
    return parser.parse_args()


def held_out_puzzles(without_test_set):
    """The puzzles training must not see: the demo puzzles and 900-999 of the published list."""
    demo = puzzle.demo_puzzles()
    if puzzle.PUBLISHED_TEST.exists():
        return demo + puzzle.published_test()
    if without_test_set:
        return demo
    raise SystemExit(
        f"expected the published test set at {puzzle.PUBLISHED_TEST}, to hold it out of training, "
        "found no file; give --without-test-set to train all the same"
    )


def branch_layout():
    """Positions [37] and mask [37, 37] of a trace followed by its four `?` branches."""
    positions = torch.tensor([*range(LENGTH), *BRANCHES])
    mask = torch.full((len(positions),) * 2, -math.inf).triu(1)
    for row, seen in enumerate(BRANCHES, LENGTH):
        mask[row] = -math.inf
        mask[row, :seen] = 0
        mask[row, row] = 0
    return positions, mask


def encode_trace(trace):
    """Input ids [37], target ids [32] and loss weights [32] of one trace.

    Targets are the 28 tokens after the prompt (the last is end-of-sequence), then one label per branch.
    """
    ids = vocabulary.encode(trace.prompt + "".join(step.text() for step in trace.steps))
    labels = [vocabulary.GOOD if good else vocabulary.BAD for good in trace.good]
    weights = []
    for loss, start, end in zip(trace.losses, BRANCHES, STEP_ENDS):
        choice, rest = float(loss == puzzle.WHOLE), float(loss != puzzle.SKIP)
        weights += [choice] * 3 + [rest] * (end - start - 3)
    return (
        ids + [vocabulary.ASK] * len(BRANCHES),
        ids[PROMPT:] + [vocabulary.EOS] + labels,
        weights + [1.0] + [1.0] * len(BRANCHES),
    )


def learning_rate(step, progress, arguments):
    """Linear warm-up over 100 steps, then linear decay to nothing."""
    return arguments.rate * min((step + 1) / 100, 1 - progress)


def train(arguments):
    """Train from scratch; writes the GGUF file every few steps and at the end."""
    torch.manual_seed(arguments.seed)
    source = puzzle.PuzzleSource(held_out_puzzles(arguments.without_test_set), arguments.seed)
    shape = models.Shape(width=arguments.width, layers=arguments.layers, feed_forward=arguments.feed_forward)
    model = models.Llama(shape)
    print(f"{len(source.solvable)} solvable and {len(source.unsolvable)} unsolvable puzzles to train on,",
          f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    positions, mask = branch_layout()
    start = time.time()
    for step in range(arguments.steps):
        progress = max(step / arguments.steps, (time.time() - start) / 60 / arguments.minutes)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, progress, arguments)
        batch = [encode_trace(source.sample()) for _ in range(arguments.batch)]
        ids, targets, weights = (torch.from_numpy(np.array(column)) for column in zip(*batch))
        logits = model(ids, positions, mask, slice(PROMPT - 1, None))
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        loss = (losses * weights).sum().float() / weights.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            report(step, losses.detach(), weights, time.time() - start)
        if (step + 1) % arguments.checkpoint_every == 0:
            models.save(model, arguments.out)
    models.save(model, arguments.out)
    print(f"wrote {arguments.out} after {step + 1} steps", flush=True)


def report(step, losses, weights, seconds):
    """One line: mean loss of the choices at each step, step 1's bookkeeping, the values after 1 and 2."""
    starts = [end - PROMPT for end in BRANCHES[:3]]
    choices = [mean_loss(losses, weights, slice(s, s + 3)) for s in starts]
    rest = mean_loss(losses, weights, slice(3, 10))
    values = [losses[:, 28 + i].mean().item() for i in (1, 2)]
    print(f"step {step} seconds {seconds:.0f} choice", *(f"{x:.3f}" for x in choices),
          f"bookkeeping {rest:.3f} value", *(f"{x:.3f}" for x in values), flush=True)


def mean_loss(losses, weights, columns):
    return ((losses * weights)[:, columns].sum() / weights[:, columns].sum().clamp(min=1)).item()


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    if not arguments.evaluate:
        train(arguments)
    evaluate.report(models.load(arguments.evaluate or arguments.out), arguments.samples, arguments.seed)


if __name__ == "__main__":
    main()
