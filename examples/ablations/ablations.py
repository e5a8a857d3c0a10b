#!/usr/bin/env python3
"""Ablations, each in one command: what a part of the method is worth, as a table and a picture.

    examples/ablations/ablations.py NAME --output DIR [--model DIR --text FILE --eval-text FILE ...]

    modules         attention alone, MLP alone, or both are made smaller (the paper's figure 4)
    initialization  the paper's search from important and from random units (figure 5)
    samples         reformation with 0, 32, 128 and 512 calibration sequences (figure 6); 384 of the
                    text that comes with the repository, which has no more
    fitness         candidates with inherited or repaired weights, by perplexity or divergence
    budget          perplexity by tokens that candidates are scored on: espalier, the paper's search,
                    random search from the same start

DIR gets NAME.csv, NAME.svg and the result folder of every run. A run that is there already is not
made again. Without --model and texts: the model that comes with the repository, which takes from
minutes to half an hour, most of it the paper's search.
"""
import argparse
import csv
import json
import math
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORCHARD = ROOT / "models/orchard"
COLOURS = ["#2b7a4b", "#b2562f", "#3a6ea5", "#8a5aa8", "#777777"]


class Run:
    """A job: what it adds to the job that all runs share, and where its point goes."""

    def __init__(self, curve, x, changes):
        self.curve, self.x, self.changes = curve, x, changes

    @property
    def name(self):
        return f"{self.curve}-{self.x}".replace(" ", "_")


def modules(args):
    for cut in ["both", "attention", "mlp"]:
        for ratio in [0.95, 0.9, 0.85, 0.8]:
            yield Run(cut, ratio, {"target": {"ratio": ratio, "cut": cut}})


def initialization(args):
    for initial in ["importance", "random"]:
        for generations in [1, 5, 10, 20]:
            yield Run(initial, generations,
                      {"method": "paper", "search": {"initial": initial, "generations": generations},
                       "reformation": {"method": "none"}})


def samples(args):
    for method in ["espalier", "paper"]:
        yield Run(method, 0, {"method": method, "reformation": {"method": "none"}})
        for sequences in [32, 128, 384 if args.text == ORCHARD / "valid.txt" else 512]:
            yield Run(method, sequences,
                      {"method": method, "calibration": {"sequences": sequences}})


def fitness(args):
    for weights in ["inherited", "reformed"]:
        for measure in ["perplexity", "kl"]:
            for ratio in [0.8, 0.7, 0.6]:
                yield Run(f"{weights} {measure}", ratio,
                          {"target": {"ratio": ratio},
                           "fitness": {"weights": weights, "measure": measure}})


def budget(args):
    for thousands in args.budgets:
        limit = {"budget_tokens": thousands * 1000}
        yield Run("espalier", thousands, limit | {"allocation": {"generations": 1000}})
        yield Run("paper", thousands, limit | {"method": "paper"})
        yield Run("random", thousands,
                  limit | {"method": "paper", "search": {"mutations": 0, "crossovers": 0,
                                                         "initial_mutations": 100}})


ABLATIONS = {
    "modules": (modules, "share of parameters kept"),
    "initialization": (initialization, "generations"),
    "samples": (samples, "calibration sequences"),
    "fitness": (fitness, "share of parameters kept"),
    "budget": (budget, "thousand candidate tokens"),
}


def numbers(text):
    return [int(number) for number in text.split(",")]


def merged(base, changes):
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def shared_job(args):
    job = {
        "model": {"path": str(args.model), "precision": args.precision},
        "text": {"path": str(args.text), "format": args.text_format},
        "eval_text": {"path": str(args.eval_text), "format": args.text_format,
                      "sequences": args.eval_sequences},
        "target": {"ratio": args.ratio},
        "seed": args.seed,
        "calibration": {"sequences": args.calibration_sequences},
    }
    if args.sequence_length:
        job["sequence_length"] = args.sequence_length
    return job


def run(args, item):
    output = args.output / item.name
    if not (output / "report.json").exists():
        job = merged(shared_job(args), item.changes) | {"output": str(output)}
        file = args.output / f"{item.name}.yaml"
        file.write_text(json.dumps(job, indent=1))  # YAML reads JSON
        print(f"{item.name} ...", file=sys.stderr)
        done = subprocess.run([args.espalier, "run", str(file), "--quiet"], stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"error: {item.name} failed; its job is {file}")
    report = json.loads((output / "report.json").read_text())
    tokens = 0
    provenance = json.loads((output / "subnet.json").read_text())["provenance"]["search"]
    for line in (output / "population.jsonl").read_text().splitlines():
        window = json.loads(line).get("window")
        tokens += (window[1] if window else provenance["sequences"]) * provenance["sequence_length"]
    return {
        "curve": item.curve,
        "x": item.x,
        "ratio": report["reformed"]["ratio"],
        "initial": report["initial"]["perplexity"],
        "searched": report["searched"]["perplexity"],
        "perplexity": report["reformed"]["perplexity"],
        "dense": report["dense"]["perplexity"],
        "candidates": report["candidates"],
        "candidate_tokens": tokens,
        "seconds": round(report["seconds"], 1),
    }


def ticks(low, high):
    power = 10 ** math.floor(math.log10(low))
    values = []
    while power <= high:
        values += [f * power for f in (1, 1.2, 1.5, 2, 3, 5, 7) if low <= f * power <= high]
        power *= 10
    return values


def picture(rows, title, x_label):
    """Perplexity, logarithmic, over x (also logarithmic where it spans a decade); a curve for each
    kind of run."""
    width, height, left, right, top, bottom = 640, 400, 64, 24, 60, 48
    points = [row for row in rows if row["perplexity"]]
    xs = [row["x"] for row in points]
    low = min(row["perplexity"] for row in points) * 0.95
    high = max(row["perplexity"] for row in points) * 1.05
    # Budgets that double are equally far from each other.
    scale = math.log if min(xs) > 0 and max(xs) / min(xs) >= 10 else float
    span = scale(max(xs)) - scale(min(xs)) or 1
    at_x = lambda x: left + (width - left - right) * (scale(x) - scale(min(xs))) / span
    at_y = lambda y: top + (height - top - bottom) * math.log(high / y) / math.log(high / low)
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12" fill="#333">',
           '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="{left}" y="20">{title}</text>',
           f'<text x="{width / 2}" y="{height - 10}" text-anchor="middle">{x_label}</text>']
    for y in ticks(low, high):
        svg.append(f'<line x1="{left}" x2="{width - right}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" '
                   f'stroke="#d5d9de"/><text x="{left - 8}" y="{at_y(y) + 4:.1f}" '
                   f'text-anchor="end">{y:g}</text>')
    for x in sorted(set(xs)):
        svg.append(f'<text x="{at_x(x):.1f}" y="{height - bottom + 18}" '
                   f'text-anchor="middle">{x:g}</text>')
    curves = list(dict.fromkeys(row["curve"] for row in points))
    for curve, colour, place in zip(curves, COLOURS, range(len(curves))):
        line = sorted((row["x"], row["perplexity"]) for row in points if row["curve"] == curve)
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        svg.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        svg += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5" fill="{colour}">'
                f'<title>{curve}: {y:.2f} at {x:g}</title></circle>' for x, y in line]
        svg.append(f'<text x="{left + 130 * place}" y="42" fill="{colour}">{curve}</text>')
    return "\n".join(svg + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=ABLATIONS)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, default=ORCHARD)
    parser.add_argument("--text", type=pathlib.Path, default=ORCHARD / "valid.txt")
    parser.add_argument("--eval-text", type=pathlib.Path, default=ORCHARD / "test.txt")
    parser.add_argument("--text-format", default="wikitext")
    parser.add_argument("--eval-sequences", type=int, default=0)
    parser.add_argument("--sequence-length", type=int, default=0)
    parser.add_argument("--calibration-sequences", type=int, default=128)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--ratio", type=float, default=0.7, help="where the ablation has no other")
    parser.add_argument("--budgets", type=numbers, default=[50, 100, 200, 400, 800, 1600],
                        help="of the ablation of that name: thousands of tokens, e.g. 200,2000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--espalier", default=str(ROOT / "build/release/bin/espalier"))
    args = parser.parse_args()
    runs_of, x_label = ABLATIONS[args.name]
    args.output.mkdir(parents=True, exist_ok=True)
    rows = [run(args, item) for item in runs_of(args)]
    with open(args.output / f"{args.name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    title = f"{args.name}: perplexity on {args.eval_text.name}, {args.model.name}"
    (args.output / f"{args.name}.svg").write_text(picture(rows, title, x_label))
    for row in rows:
        print(f"{row['curve']:<22} {row['x']:>6g} {row['perplexity']:>10.4f} "
              f"{row['candidate_tokens']:>10} tokens {row['seconds']:>8} s")
    print(f"{args.output / args.name}.csv, {args.output / args.name}.svg")


if __name__ == "__main__":
    main()
