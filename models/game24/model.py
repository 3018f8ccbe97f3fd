"""A llama-architecture transformer whose parameters carry their GGUF names.

RoPE turns interleaved pairs (2i, 2i+1), as llama.cpp does for this architecture, so export permutes nothing.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

import gguf_file
import vocabulary

CONTEXT_LENGTH = 256


class Shape(NamedTuple):
    """The size of a model."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384


class Llama(nn.Module):
    """Token ids to logits. `forward` takes positions and an attention mask, so a pass can score branches."""

    EPSILON, ROPE_BASE = 1e-5, 10000.0

    def __init__(self, shape=Shape()):
        super().__init__()
        self.shape = shape
        d, f = shape.width, shape.feed_forward
        self.tensors = nn.ParameterDict()
        self._add("token_embd", number_embeddings(d))
        for i in range(shape.layers):
            deep = 0.02 / math.sqrt(2 * shape.layers)
            for name, rows, columns, scale in [
                ("attn_q", d, d, 0.06), ("attn_k", d, d, 0.06), ("attn_v", d, d, 0.06),
                ("attn_output", d, d, deep),
                ("ffn_gate", f, d, 0.06), ("ffn_up", f, d, 0.06), ("ffn_down", d, f, deep),
            ]:
                self._add(f"blk.{i}.{name}", torch.randn(rows, columns) * scale)
            self._add(f"blk.{i}.attn_norm", torch.ones(d))
            self._add(f"blk.{i}.ffn_norm", torch.ones(d))
        self._add("output_norm", torch.ones(d))

    def _add(self, name, value):
        self.tensors[name.replace(".", "/")] = nn.Parameter(value)

    def get(self, name):
        return self.tensors[name.replace(".", "/")]

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.EPSILON) * self.get(name)

    def forward(self, ids, positions=None, mask=None, outputs=slice(None), cache=None):
        """Logits [batch, outputs, vocabulary] for ids [batch, length].

        positions [length] defaults to 0, 1, ...; mask [length, length] holds 0 or -inf, by default causal;
        outputs selects the positions whose logits are wanted. With a cache (a dict, empty at first, which
        this extends), ids continue what the cache has seen, and positions and mask keep their defaults.
        """
        past, length = cache[0][0].shape[2] if cache else 0, ids.shape[1]
        positions = torch.arange(past, past + length) if positions is None else positions
        mask = torch.full((length, past + length), -math.inf).triu(1 + past) if mask is None else mask
        turn = self._rotation(positions)
        x = F.embedding(ids, self.get("token_embd"))
        for i in range(self.shape.layers):
            x = x + self._attend(self.norm(x, f"blk.{i}.attn_norm"), i, turn, mask, cache)
            h = self.norm(x, f"blk.{i}.ffn_norm")
            gate = F.silu(F.linear(h, self.get(f"blk.{i}.ffn_gate")))
            x = x + F.linear(gate * F.linear(h, self.get(f"blk.{i}.ffn_up")), self.get(f"blk.{i}.ffn_down"))
        return F.linear(self.norm(x[:, outputs], "output_norm"), self.get("token_embd"))

    def _rotation(self, positions):
        size = self.shape.width // self.shape.heads
        angle = positions[:, None] * self.ROPE_BASE ** (-torch.arange(0, size, 2) / size)
        return angle.cos(), angle.sin()

    def _attend(self, h, layer, turn, mask, cache):
        (batch, length, width), prefix = h.shape, f"blk.{layer}."
        q, k, v = (
            F.linear(h, self.get(prefix + name)).view(batch, length, self.shape.heads, -1).transpose(1, 2)
            for name in ("attn_q", "attn_k", "attn_v")
        )
        q, k = rotate(q, turn), rotate(k, turn)
        if cache is not None:
            seen = cache.get(layer, (k[:, :, :0], v[:, :, :0]))
            k, v = cache[layer] = torch.cat((seen[0], k), 2), torch.cat((seen[1], v), 2)
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask).softmax(-1)
        heads = (weights @ v).transpose(1, 2).reshape(batch, length, width)
        return F.linear(heads, self.get(prefix + "attn_output"))


def rotate(x, turn):
    """Turn the pairs (2i, 2i+1) of the last axis."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = turn
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def number_embeddings(width):
    """Random embeddings; those of a number n start with waves of n, which helps arithmetic."""
    table = torch.randn(len(vocabulary.TOKENS), width) * 0.02
    n = torch.arange(1000.0)
    periods = torch.tensor([2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 24, 36, 50, 100, 200, 500, 1000.0])
    angle = 2 * math.pi * n[:, None] / periods
    waves = 0.03 * torch.cat((angle.cos(), angle.sin()), 1)
    for first in (vocabulary.IDS["0"], vocabulary.IDS[" 0"]):
        table[first : first + 1000, : waves.shape[1]] += waves
    return table


def save(model, path):
    """Write a model as GGUF."""
    shape = model.shape
    metadata = {
        "general.architecture": "llama",
        "general.name": "game24-tiny",
        "general.license": "apache-2.0",
        "general.file_type": 1,
        "llama.context_length": CONTEXT_LENGTH,
        "llama.vocab_size": len(vocabulary.TOKENS),
        "llama.embedding_length": shape.width,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.heads,
        "llama.attention.layer_norm_rms_epsilon": model.EPSILON,
        "llama.rope.dimension_count": shape.width // shape.heads,
        "llama.rope.freq_base": model.ROPE_BASE,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": vocabulary.TOKENS,
        "tokenizer.ggml.scores": [0.0] * len(vocabulary.TOKENS),
        "tokenizer.ggml.token_type": vocabulary.TYPES,
        "tokenizer.ggml.unknown_token_id": vocabulary.UNK,
        "tokenizer.ggml.bos_token_id": vocabulary.BOS,
        "tokenizer.ggml.eos_token_id": vocabulary.EOS,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }
    tensors = {name.replace("/", ".") + ".weight": p.detach().numpy() for name, p in model.tensors.items()}
    gguf_file.write(path, metadata, tensors)


def load(path):
    """Read a model that `save` wrote."""
    metadata, tensors = gguf_file.read(path)
    names = ("embedding_length", "block_count", "attention.head_count", "feed_forward_length")
    model = Llama(Shape(*(metadata[f"llama.{name}"] for name in names)))
    for name, value in tensors.items():
        model.get(name.removesuffix(".weight")).data = torch.from_numpy(value)
    return model.eval()
