"""The vocabulary: 256 byte tokens, whole numbers in both roles, a few words. Every word is one token.

A number is one token at the start of a line (`10`) and another one after a space (` 10`).
"""

import re

UNK, BOS, EOS = 0, 1, 2
WORDS = [" +", " -", " *", " /", " =", " left", "\n", "?", " good", " bad", " "]
NUMBERS = [str(n) for n in range(1000)] + [f" {n}" for n in range(1000)]
TOKENS = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + WORDS + NUMBERS
IDS = {token: i for i, token in enumerate(TOKENS)}
GOOD, BAD, ASK = IDS[" good"], IDS[" bad"], IDS["?"]

# GGUF token types: 2 unknown, 3 control, 4 user-defined, 6 byte.
TYPES = [2, 3, 3] + [6] * 256 + [4] * (len(WORDS) + len(NUMBERS))

_PIECE = re.compile(r" ?\d{1,3}| [-+*/=]| left|\n|\?| good| bad")


def encode(text, bos=True):
    """Token ids of a text. Raises KeyError or ValueError where the text is outside the format."""
    pieces = _PIECE.findall(text)
    if "".join(pieces) != text:
        raise ValueError(f"not in the Game-of-24 text format: {text!r}")
    return [BOS] * bos + [IDS[piece] for piece in pieces]


def decode(ids):
    """The text of token ids, up to the end-of-sequence token."""
    ids = list(ids)
    return "".join(TOKENS[i] for i in (ids[: ids.index(EOS)] if EOS in ids else ids) if i != BOS)
