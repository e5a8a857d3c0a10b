"""Times the evaluation of a dense model by transformers and by `espalier eval`, on the same sequences of a
text, in the same precision and on all cores, and compares the losses.

Usage: scripts/with-transformers benchmarks/against_transformers.py MODEL TEXT [--sequences 4]
           [--sequence-length 2048] [--precision float32|bfloat16] [--text-format wikitext|plain]

Both are timed without loading. The two take turns, so that a change of clock or load meets both.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
from padded_export_check import read_text  # noqa: E402


def nll(model, ids):
    with torch.inference_mode():
        logits = model(ids[None]).logits[0, :-1].float()
        return torch.nn.functional.cross_entropy(logits, ids[1:]).item()


def ours(arguments):
    program = pathlib.Path(__file__).parent.parent / "build/release/bin/espalier"
    command = [
        program, "eval", "--model", arguments.model, "--text", arguments.text,
        "--text-format", arguments.text_format, "--precision", arguments.precision,
        "--sequence-length", str(arguments.sequence_length),
        "--sequences", str(arguments.sequences), "--json", "--quiet",
    ]
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    result = subprocess.run(command, check=True, capture_output=True, env=environment)
    return json.loads(result.stdout)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--sequence-length", type=int, default=2048)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--text-format", default="wikitext", choices=["wikitext", "plain"])
    arguments = parser.parse_args()

    torch.set_num_threads(os.cpu_count())
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    text = read_text(arguments.text, arguments.text_format)
    count = arguments.sequences * arguments.sequence_length
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])[:count]
    chunks = ids.view(arguments.sequences, arguments.sequence_length)
    dtype = getattr(torch, arguments.precision)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).eval()
    nll(model, chunks[0])  # warm

    theirs, own = [], []
    for _ in range(2):
        start = time.monotonic()
        losses = [nll(model, chunk) for chunk in chunks]
        theirs.append((time.monotonic() - start) / arguments.sequences)
        score = ours(arguments)
        own.append(arguments.sequence_length / score["tokens_per_second"])
    worst = max(abs(a / b - 1) for a, b in zip(score["nll_per_sequence"], losses))
    print(
        f"{arguments.precision}, {arguments.sequences} sequences of {arguments.sequence_length} tokens: "
        f"transformers {min(theirs):.2f} s a sequence, espalier {min(own):.2f} s, "
        f"{min(theirs) / min(own):.2f} times as fast; losses differ by at most {worst:.1e}"
    )


if __name__ == "__main__":
    main()
