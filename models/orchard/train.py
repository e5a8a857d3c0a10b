#!/usr/bin/env python3
"""Trains the orchard model and writes it as a Hugging Face folder.

The learning rate is constant, then falls linearly to zero over the last `--decay-steps` steps. So
a run that is interrupted before the fall may be resumed with another `--steps` and is then the
same as one that had it from the start.

Example: train.py --text train.txt --valid valid.txt --tokenizer tokenizer.json --out . \\
             --work /tmp/orchard
"""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from llama import Llama, Shape
from train_tokenizer import wikitext

LENGTH = 256


def token_chunks(text_path, tokenizer):
    """Consecutive chunks of LENGTH tokens, the incomplete last one left out: uint16 [n, LENGTH]."""
    text, ids, step = wikitext(text_path), [], 1 << 20
    # Cut before headings only: there the tokenizer never joins characters of both sides.
    start = 0
    while start < len(text):
        cut = text.find("\n = ", start + step)
        end = len(text) if cut < 0 else cut + 1
        ids.append(np.array(tokenizer.encode(text[start:end]).ids, dtype=np.uint16))
        start = end
    ids = np.concatenate(ids)
    return ids[:len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH)


def orthogonalise(g):
    """The nearest semi-orthogonal matrix, roughly, by the quintic Newton-Schulz iteration of Muon
    (K. Jordan, 2024), for a batch of matrices."""
    transposed = g.shape[-2] > g.shape[-1]
    x = g.mT if transposed else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalise(p.grad.lerp(buffer, group["momentum"]))
                scale = max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * scale)


class Trainer:
    def __init__(self, args):
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        self.args = args
        tokenizer = Tokenizer.from_file(args.tokenizer)
        self.train = token_chunks(args.text, tokenizer)
        self.valid = token_chunks(args.valid, tokenizer)[:64]
        self.order = np.random.default_rng(args.seed).permutation(len(self.train))
        self.model = Llama(Shape(vocabulary=tokenizer.get_vocab_size()))
        matrices = self.model.matrices()
        kept = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in kept]
        self.optimisers = [Muon(matrices, lr=args.matrix_rate),
                           torch.optim.AdamW(others, lr=args.other_rate, betas=(0.9, 0.98),
                                             weight_decay=0.0)]
        self.rates = [args.matrix_rate, args.other_rate]
        self.step = 0
        self.seconds = 0.0
        self.checkpoint = os.path.join(args.work, "checkpoint.pt")

    def resume(self):
        if os.path.exists(self.checkpoint):
            state = torch.load(self.checkpoint)
            self.model.load_state_dict(state["model"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"]):
                optimiser.load_state_dict(saved)
            self.step, self.seconds = state["step"], state["seconds"]

    def save_checkpoint(self):
        state = {"model": self.model.state_dict(), "step": self.step, "seconds": self.seconds,
                 "optimisers": [optimiser.state_dict() for optimiser in self.optimisers]}
        torch.save(state, self.checkpoint + ".part")
        os.replace(self.checkpoint + ".part", self.checkpoint)

    def _rate(self):
        warm = min(1.0, (self.step + 1) / 50)
        return warm * min(1.0, (self.args.steps - self.step) / self.args.decay_steps)

    def _batch(self):
        size = self.args.batch
        rows = [self.order[i % len(self.order)]
                for i in range(self.step * size, (self.step + 1) * size)]
        return torch.from_numpy(self.train[rows].astype(np.int64))

    def train_step(self):
        for optimiser, rate in zip(self.optimisers, self.rates):
            for group in optimiser.param_groups:
                group["lr"] = rate * self._rate()
        loss = self.model.loss(self._batch())
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def valid_loss(self):
        ids = torch.from_numpy(self.valid.astype(np.int64))
        return sum(self.model.loss(part).item() * len(part) for part in ids.split(16)) / len(ids)

    def run(self):
        print(f"{len(self.train)} training chunks, "
              f"{sum(p.numel() for p in self.model.parameters())} parameters", flush=True)
        recent = []
        while self.step < self.args.steps:
            begin = time.monotonic()
            recent.append(self.train_step())
            self.seconds += time.monotonic() - begin
            if self.step % 25 == 0:
                print(f"step {self.step} seconds {self.seconds:.0f} train "
                      f"{sum(recent) / len(recent):.4f}", flush=True)
                recent = []
            if self.step % 200 == 0 or self.step == self.args.steps:
                print(f"step {self.step} seconds {self.seconds:.0f} valid perplexity "
                      f"{math.exp(self.valid_loss()):.4f}", flush=True)
                self.save_checkpoint()

    def export(self):
        with open(os.path.join(self.args.out, "config.json"), "w", encoding="utf-8") as file:
            json.dump(self.model.shape.config(), file, indent=2)
            file.write("\n")
        save_file(self.model.to_hugging_face(torch.bfloat16),
                  os.path.join(self.args.out, "model.safetensors"), metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="training text")
    parser.add_argument("--valid", required=True, help="text for the losses in the log")
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json")
    parser.add_argument("--out", required=True, help="folder for config.json, model.safetensors")
    parser.add_argument("--work", required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--decay-steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16, help="sequences per step")
    parser.add_argument("--matrix-rate", type=float, default=0.02)
    parser.add_argument("--other-rate", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    trainer = Trainer(args)
    trainer.resume()
    trainer.run()
    trainer.export()


if __name__ == "__main__":
    main()
