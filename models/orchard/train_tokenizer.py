#!/usr/bin/env python3
"""Trains a byte-level BPE tokenizer on generated text and writes it as an HF tokenizer.json.

Same shape as SmolLM's: digits stand alone, then the byte-level split of GPT-2, no added prefix
space, no beginning-of-sequence token. Needs the `tokenizers` package.

Example: train_tokenizer.py --text train.txt --vocabulary 1536 --out .
"""

import argparse
import json
import os

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END_OF_TEXT = "<|endoftext|>"


def wikitext(path):
    """The text as it is measured: rows joined by two newlines, a row being a line plus its newline
    if it has a non-space character, else empty."""
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")
    if lines[-1] == "":
        lines.pop()  # the file's final newline ends the last row
    return "\n\n".join(line + "\n" if line.strip() else "" for line in lines)


def train(text, vocabulary):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END_OF_TEXT], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    step = 1 << 16
    tokenizer.train_from_iterator((text[i:i + step] for i in range(0, len(text), step)), trainer)
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--vocabulary", type=int, default=1536)
    parser.add_argument("--characters", type=int, default=4_000_000,
                        help="use only this much of the text")
    parser.add_argument("--out", required=True, help="folder to write to")
    args = parser.parse_args()
    tokenizer = train(wikitext(args.text)[:args.characters], args.vocabulary)
    tokenizer.save(os.path.join(args.out, "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False,
              "eos_token": END_OF_TEXT, "model_max_length": 256}
    with open(os.path.join(args.out, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
