#!/usr/bin/env python3
"""Shows that the model can be pruned, and that it matters how: perplexity of zero-masked subnets.

Every layer keeps the same number of units (rotary pairs of each KV group, MLP channels), chosen at
random, by weight magnitude, or by activation energy; the last also with the inputs of o and down
repaired in closed form (W' = W H_:S (H_SS + lambda I)^-1). No search: a search must beat these.

Example: check_pruning.py --model . --valid valid.txt --test test.txt --ratio 0.7
"""

import argparse
import math
import os

import torch
from tokenizers import Tokenizer

from evaluate_baselines import load_model, model_nll
from train import token_chunks


class Shapes:
    def __init__(self, config):
        self.layers, self.hidden = config.num_hidden_layers, config.hidden_size
        self.groups, self.channels = config.num_key_value_heads, config.intermediate_size
        self.heads_per_group = config.num_attention_heads // self.groups
        self.pairs = config.head_dim // 2

    def pair_rows(self, keep, heads):
        """bool [heads * head_dim]: rows of the kept pairs of `heads` heads per group."""
        both = torch.cat([keep, keep], dim=1)  # dims p and p + h/2
        return both.repeat_interleave(heads // self.groups, dim=0).reshape(-1)

    def kept_units(self, total, ratio):
        """Pairs per group and channels per layer, the same share of both, for total * ratio."""
        pair = self.groups * 2 * self.hidden * (2 * self.heads_per_group + 2)
        blocks = self.layers * (self.pairs * pair + self.channels * 3 * self.hidden)
        target = (ratio * total - (total - blocks)) / self.layers
        pairs = math.floor(self.pairs * target * self.layers / blocks)
        return pairs, math.floor((target - pairs * pair) / (3 * self.hidden))


class Calibration:
    """Gram matrices of the inputs of o and down, energies of q and k, over the given chunks."""

    def __init__(self, model, chunks):
        self.gram, self.energy = {}, {}
        hooks = []
        for name, module in model.named_modules():
            if name.endswith(("o_proj", "down_proj")):
                hooks.append(module.register_forward_pre_hook(self._add_gram(name)))
            if name.endswith(("q_proj", "k_proj")):
                hooks.append(module.register_forward_hook(self._add_energy(name)))
        model_nll(model, chunks)
        for hook in hooks:
            hook.remove()

    def _add_gram(self, name):
        def hook(_, inputs):
            x = inputs[0].flatten(0, 1)
            self.gram[name] = self.gram.get(name, 0) + x.T @ x
        return hook

    def _add_energy(self, name):
        def hook(_, __, output):
            self.energy[name] = self.energy.get(name, 0) + output.square().sum(dim=(0, 1))
        return hook


def _pairs(shapes, values):
    """Sums per-row values [heads * h] to [groups, pairs]."""
    return values.view(shapes.groups, -1, 2, shapes.pairs).sum(dim=(1, 2))


def random_scores(shapes, generator):
    return [(torch.rand(shapes.groups, shapes.pairs, generator=generator),
             torch.rand(shapes.channels, generator=generator)) for _ in range(shapes.layers)]


def magnitude_scores(model, shapes):
    scores = []
    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        rows = [_pairs(shapes, module.weight.square().sum(dim=1))
                for module in (a.q_proj, a.k_proj, a.v_proj)]
        columns = _pairs(shapes, a.o_proj.weight.square().sum(dim=0))
        channel = (m.gate_proj.weight.square().sum(1) + m.up_proj.weight.square().sum(1)
                   + m.down_proj.weight.square().sum(0))
        scores.append((sum(rows) + columns, channel))
    return scores


def energy_scores(model, shapes, calibration):
    """Channel: sum of squared activations times squared norm of its down column. Pair: share of
    the energy of the attention logits, sum q^2 * sum k^2, plus share of that of the output."""
    scores = []
    for i, layer in enumerate(model.model.layers):
        prefix = f"model.layers.{i}."
        o, down = layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight
        q, k = (_pairs(shapes, calibration.energy[f"{prefix}self_attn.{p}_proj"]) for p in "qk")
        output = calibration.gram[prefix + "self_attn.o_proj"].diagonal() * o.square().sum(0)
        logits, output = q * k, _pairs(shapes, output)
        pair = logits / logits.sum() + output / output.sum()
        channel = calibration.gram[prefix + "mlp.down_proj"].diagonal() * down.square().sum(0)
        scores.append((pair, channel))
    return scores


def _top(scores, count):
    keep = torch.zeros_like(scores, dtype=torch.bool)
    return keep.scatter(-1, scores.topk(count, dim=-1).indices, True)


def _repaired(weight, gram, keep, relative_lambda=1e-3):
    h = gram[keep][:, keep]
    h = h + relative_lambda * h.diagonal().mean() * torch.eye(len(h))
    result = torch.zeros_like(weight)
    result[:, keep] = torch.linalg.solve(h, gram[keep] @ weight.T).T
    return result


@torch.no_grad()
def masked(folder, shapes, scores, units, calibration=None):
    """The model with all but the best units set to zero; repaired if a calibration is given."""
    model = load_model(folder)
    for i, (layer, (pair, channel)) in enumerate(zip(model.model.layers, scores)):
        keep, mlp = _top(pair, units[0]), _top(channel, units[1])
        a, m = layer.self_attn, layer.mlp
        query = shapes.pair_rows(keep, shapes.groups * shapes.heads_per_group)
        key = shapes.pair_rows(keep, shapes.groups)
        for module, rows in ((a.q_proj, query), (a.k_proj, key), (a.v_proj, key),
                             (m.gate_proj, mlp), (m.up_proj, mlp)):
            module.weight.mul_(rows[:, None])
        for name, module, columns in (("self_attn.o_proj", a.o_proj, query),
                                      ("mlp.down_proj", m.down_proj, mlp)):
            if calibration is None:
                module.weight.mul_(columns)
            else:
                gram = calibration.gram[f"model.layers.{i}.{name}"]
                module.weight.copy_(_repaired(module.weight, gram, columns))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder")
    parser.add_argument("--valid", required=True, help="text to calibrate on")
    parser.add_argument("--test", required=True, help="text to score")
    parser.add_argument("--ratio", type=float, nargs="+", default=[0.9, 0.8, 0.7, 0.6, 0.5],
                        help="share of all parameters to keep")
    parser.add_argument("--sequences", type=int, default=64, help="of the test text")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    test = token_chunks(args.test, tokenizer)[:args.sequences]
    dense = load_model(args.model)
    shapes = Shapes(dense.config)
    total = sum(p.numel() for p in dense.parameters())
    calibration = Calibration(dense, token_chunks(args.valid, tokenizer)[:64])

    def perplexity(model):
        return math.exp(model_nll(model, test).mean())

    with torch.no_grad():
        energy = energy_scores(dense, shapes, calibration)
        methods = [(f"random {seed}", random_scores(shapes, torch.Generator().manual_seed(seed)),
                    None) for seed in range(3)]
        methods += [("weight magnitude", magnitude_scores(dense, shapes), None),
                    ("activation energy", energy, None),
                    ("energy, repaired", energy, calibration)]
    print(f"dense {perplexity(dense):.3f}, {total} parameters")
    for ratio in args.ratio:
        units = shapes.kept_units(total, ratio)
        print(f"ratio {ratio}: {units[0]} of {shapes.pairs} pairs, "
              f"{units[1]} of {shapes.channels} channels")
        for name, scores, repair in methods:
            model = masked(args.model, shapes, scores, units, repair)
            print(f"  {name:18s} {perplexity(model):10.3f}", flush=True)


if __name__ == "__main__":
    main()
