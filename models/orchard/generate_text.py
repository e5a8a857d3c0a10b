#!/usr/bin/env python3
"""Writes articles about an invented world, in a layout like that of WikiText.

The same arguments give the same bytes on every machine. Splits share the facts of the world but
not the articles: the split's name goes into the seed.

Example: generate_text.py --split test --characters 150000 --out test.txt
"""

import argparse
import random
import sys

import articles
from world import World


def render(title, paragraphs):
    """A heading and one line per paragraph, each between blank lines, as in WikiText-2."""
    lines = ["", f" = {title} =", ""]
    lines += [" " + " ".join(sentences) for sentences in paragraphs]
    return "\n".join(lines) + "\n"


def generate(split, seed, characters=None, documents=None):
    """Yields articles until one of the two limits is reached (the last article is never cut)."""
    world = World()
    rng = random.Random(f"{split} {seed}")
    written = count = 0
    while (characters is None or written < characters) and (documents is None or count < documents):
        text = render(*articles.article(rng, world))
        written += len(text)
        count += 1
        yield text


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["train", "valid", "test"], required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--characters", type=int, help="stop after the article that reaches this")
    parser.add_argument("--documents", type=int, help="stop after this many articles")
    parser.add_argument("--out", help="file to write; standard output if absent")
    args = parser.parse_args()
    if args.characters is None and args.documents is None:
        parser.error("give --characters or --documents")
    out = open(args.out, "w", encoding="ascii", newline="\n") if args.out else sys.stdout
    with out:
        for text in generate(args.split, args.seed, args.characters, args.documents):
            out.write(text)


if __name__ == "__main__":
    main()
