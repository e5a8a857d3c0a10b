#!/usr/bin/env python3
"""Held-out perplexity per token of the model, beside n-gram models counted on the training text.

All score the same tokens of the same text: consecutive chunks of 256 tokens, of each the 255 after
the first. The n-grams are interpolated with absolute discounting, and may look across the start of
a chunk, which the model may not.

Example: evaluate_baselines.py --model . --train train.txt --test test.txt
"""

import argparse
import math
import os

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from llama import Llama, Shape
from train import LENGTH, token_chunks

DISCOUNT = 0.75


def model_nll(model, chunks, batch=8):
    """Mean negative log-likelihood of each chunk's tokens after the first: float64 [n]."""
    result = []
    with torch.no_grad():
        for part in torch.from_numpy(chunks.astype(np.int64)).split(batch):
            logits = model(part).logits[:, :-1].float()
            nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), part[:, 1:],
                                                    reduction="none")
            result.append(nll.mean(dim=1).double())
    return torch.cat(result).numpy()


def load_model(folder):
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def own_nll(folder, chunks):
    """As model_nll, by the model's own code: float64 [n]."""
    model = Llama(Shape(vocabulary=load_model(folder).config.vocab_size))
    model.load_hugging_face(load_file(os.path.join(folder, "model.safetensors")))
    with torch.no_grad():
        return np.array([model.loss(ids[None]).double().item()
                         for ids in torch.from_numpy(chunks.astype(np.int64))])


class NGram:
    """p_n(w | h) = max(c(hw) - D, 0) / c(h) + D * types(h) / c(h) * p_{n-1}(w | h without its
    first token); p_0 is uniform. A history never seen leaves everything to p_{n-1}."""

    def __init__(self, tokens, order, vocabulary):
        # A gram is one number in base `vocabulary`: it must fit into 63 bits.
        assert order * math.log2(vocabulary) < 63
        self._vocabulary = vocabulary
        self._grams, self._histories = [], []
        for n in range(1, order + 1):
            grams, counts = np.unique(self._keys(tokens, n), return_counts=True)
            histories, first = np.unique(grams // vocabulary, return_index=True)
            totals = np.add.reduceat(counts, first)
            types = np.diff(np.append(first, len(grams)))
            self._grams.append((grams, counts))
            self._histories.append((histories, totals, types))

    def _keys(self, tokens, n):
        """One key per position i >= n - 1, of the n tokens that end there."""
        keys = np.zeros(len(tokens) - n + 1, dtype=np.int64)
        for i in range(n):
            keys = keys * self._vocabulary + tokens[i:len(tokens) - n + 1 + i]
        return keys

    @staticmethod
    def _find(keys, wanted, *values):
        """The values at each wanted key, 0 where it is absent."""
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = keys[at] == wanted
        return [np.where(hit, value[at], 0) for value in values]

    def probabilities(self, tokens, order):
        """p_order of every token given those before it in `tokens`."""
        result = np.full(len(tokens), 1.0 / self._vocabulary)
        for n in range(1, order + 1):
            keys = self._keys(tokens, n)
            count, = self._find(self._grams[n - 1][0], keys, self._grams[n - 1][1])
            histories, totals, types = self._histories[n - 1]
            total, kinds = self._find(histories, keys // self._vocabulary, totals, types)
            lower = result[n - 1:]
            seen = np.maximum(total, 1)
            mixed = np.maximum(count - DISCOUNT, 0) / seen + DISCOUNT * kinds / seen * lower
            result[n - 1:] = np.where(total > 0, mixed, lower)
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder")
    parser.add_argument("--train", required=True, help="text to count the n-grams on")
    parser.add_argument("--test", required=True, help="text to score")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    test = token_chunks(args.test, tokenizer)
    print(f"test: {len(test)} sequences of {LENGTH} tokens")
    nll = model_nll(load_model(args.model), test)
    apart = np.abs(nll[:16] - own_nll(args.model, test[:16])).max()
    print(f"model     {math.exp(nll.mean()):.3f} (transformers; the training code's own losses of "
          f"16 sequences differ by at most {apart:.1e})")
    train = token_chunks(args.train, tokenizer).reshape(-1).astype(np.int64)
    grams = NGram(train, 5, tokenizer.get_vocab_size())
    stream = test.reshape(-1).astype(np.int64)
    for name, order in (("unigram", 1), ("trigram", 3), ("5-gram", 5)):
        nll = -np.log(grams.probabilities(stream, order)).reshape(test.shape)[:, 1:]
        print(f"{name:9s} {math.exp(nll.mean()):.3f}")


if __name__ == "__main__":
    main()
