#!/usr/bin/env python3
"""Judges mathematical answers with the PyPI package math-verify, one JSON line in, one JSON line out.

In:  {"id": ..., "prompt": "...", "text": "...", "problem": {"reference": "..." or null, ...}}
Out: {"id": ..., "verdict": "correct" | "incorrect" | "undecided", "score": 1 | 0 | null, "answer": "..." or null,
      "reason": "..." or null}

Needs: pip install math-verify. Each line is judged for TIMEOUT_SECONDS at most (by SIGALRM, which
math-verify sets); whoever starts this program should kill it when a line takes much longer, since a computation in C
cannot be interrupted. Lines come back in their order, each flushed at once.
"""

import json
import logging
import sys

TIMEOUT_SECONDS = 5
REASON_CHARS_MAX = 400

try:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
except ImportError as error:
    sys.exit(f'math-verify.py: needs the Python package math-verify (pip install math-verify): {error}')

EXTRACTION = [LatexExtractionConfig(), ExprExtractionConfig()]


def verdict(kind, answer=None, reason=None):
    score = {"correct": 1, "incorrect": 0, "undecided": None}[kind]
    return {"verdict": kind, "score": score, "answer": answer, "reason": reason}


def read(text):
    """What math-verify finds in a text; the last element is the text it found it in."""
    return parse(text, EXTRACTION, parsing_timeout=TIMEOUT_SECONDS)


def judge(request):
    reference = request["problem"].get("reference")
    if reference is None:
        return verdict("undecided", reason="the problem has no reference")
    # A bare formula is LaTeX only between dollar signs.
    expected = read(reference if "\\boxed" in reference or "$" in reference else f"${reference}$")
    if not expected:
        return verdict("undecided", reason=f"math-verify finds no answer in the reference {reference!r}")
    found = read(request["text"])
    if not found:
        return verdict("incorrect", reason="math-verify finds no answer in the candidate")
    answer = str(found[-1])
    if verify(expected, found, timeout_seconds=TIMEOUT_SECONDS):
        return verdict("correct", answer)
    return verdict("incorrect", answer, f"expected {expected[-1]}, found {answer}"[:REASON_CHARS_MAX])


def main():
    # math-verify logs what it could not parse; standard error is for what is wrong with this program.
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    for line in sys.stdin:
        if not line.strip():
            continue
        identity = None
        try:
            request = json.loads(line)
            identity = request.get("id")
            judged = judge(request)
        except Exception as error:  # One bad line costs its own verdict only.
            judged = verdict("undecided", reason=f"{type(error).__name__}: {error}"[:REASON_CHARS_MAX])
        print(json.dumps({"id": identity, **judged}), flush=True)


if __name__ == "__main__":
    main()
