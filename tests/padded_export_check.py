"""Loads the padded/ export of a result folder with transformers, as a stranger would, and compares
its perplexity with the one that Espalier reports for the reformed subnet.

Usage: python3 tests/padded_export_check.py RESULT [--text FILE] [--tolerance 1e-4]

RESULT is the output folder of a job with an evaluation text. The text, its format and the sequences
are those of subnet.json; --text names the text when it lies elsewhere now. Needs torch and
transformers (scripts/with-transformers finds or installs them).
"""

import argparse
import json
import math
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def join_wikitext_rows(contents):
    """docs/method.md, "Measuring"."""
    rows = contents.removesuffix("\n").split("\n")
    return "\n\n".join(row + "\n" if row.strip() else "" for row in rows)


def read_text(path, text_format):
    contents = pathlib.Path(path).read_bytes().decode("utf-8")
    return join_wikitext_rows(contents) if text_format == "wikitext" else contents


def sequence_nll(model, ids):
    with torch.inference_mode():
        logits = model(ids[None]).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, ids[1:]).item()


def perplexity(folder, text, length, count):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    if len(ids) < length * count:
        sys.exit(f"error: the text has {len(ids)} tokens, {length * count} are needed")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    losses = [sequence_nll(model, chunk) for chunk in ids[: length * count].view(count, length)]
    return math.exp(sum(losses) / count)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=pathlib.Path)
    parser.add_argument("--text", help="the evaluation text, when it lies elsewhere now")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest relative difference (default 1e-4)"
    )
    arguments = parser.parse_args()

    report = json.loads((arguments.result / "report.json").read_text())
    provenance = json.loads((arguments.result / "subnet.json").read_text())["provenance"]
    if "eval_text" not in provenance:
        sys.exit(f"error: {arguments.result} is of a job without an evaluation text")
    text = read_text(
        arguments.text or provenance["eval_text"]["path"], provenance["eval_text"]["format"]
    )
    evaluation = provenance["evaluation"]
    reported = report["reformed"]["perplexity"]
    found = perplexity(
        arguments.result / "padded", text, evaluation["sequence_length"], evaluation["sequences"]
    )
    difference = abs(found / reported - 1)
    print(
        f"perplexity of padded/ over {evaluation['sequences']} sequences of "
        f"{evaluation['sequence_length']} tokens: transformers {found:.6f}, "
        f"report.json {reported:.6f}, relative difference {difference:.2e}"
    )
    # Not "difference > tolerance": that would let NaN pass.
    if not difference <= arguments.tolerance:
        sys.exit(f"error: they differ by more than {arguments.tolerance:g}")


if __name__ == "__main__":
    main()
