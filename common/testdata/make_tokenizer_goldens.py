#!/usr/bin/env python3
"""Trains the small tokenizers of the tests, and asks their reference implementations for ids.

Writes beside itself:
  bpe/tokenizer.json               a byte-level BPE, trained with Hugging Face's tokenizers
  bpe_goldens.json                 strings; variants of that file, as top-level members that replace
                                   its own; the ids of each string under each variant
  sentencepiece/<name>.model       sentencepiece BPE models, trained with its Python package
  sentencepiece_goldens.json       strings and their ids

Run with: pip install tokenizers==0.23.3 sentencepiece==0.2.3 && python make_tokenizer_goldens.py
"""

import copy
import io
import json
import pathlib

import sentencepiece
import tokenizers

HERE = pathlib.Path(__file__).parent

CORPUS = """\
An espalier is a tree that is trained to grow flat against a wall. The gardener chooses which
branches stay and which are cut, ties the ones that stay to a frame, and does so again every winter.
In the third year there are 3 tiers; in the 12th year, when it's full-grown, there may be 24 of them.
What's cut is not lost: the roots still feed what remains, and it's the remaining branches that bear
the fruit. They're stronger than they'd have been in a crowded crown, and we've seen 40 apples on
branches that hadn't carried 4 before. I'm told that the oldest one here was planted in 1893, that it
won't stop bearing, and that you'll find its twin behind the mill, where the path leaves the river.

"Don't prune in the frost," the old gardener said, "and don't let anyone hurry you." Then he'd walk
along the wall, look at each branch from the left and from the right, and cut the third one. When we
asked him why, he wouldn't say; he'd only smile, and count: one, two, three, four, five, six, seven.

    for branch in tree.branches:
        if branch.score < threshold:  # the weakest first
            tree.remove(branch)
\tprint(len(tree.branches), "branches remain")
"""

STRINGS = [
    "",
    " ",
    "   ",
    "\n",
    "\t\t",
    "a",
    " a",
    "The gardener cuts the third branch.",
    "the  branches   remain    here",
    "trailing space ",
    "trailing spaces   ",
    "   leading spaces",
    "I'm you're we'll it's don't he'd I've",
    "I'M YOU'RE WE'LL IT'S DON'T HE'D I'VE",
    "'\u017f '\u017ft 'S 'LL 'x '' ''s",
    "1234567890 3.14159 1,000,000 7th",
    " 42  43   44\t45\n46",
    "\u00bd \u00b2\u00b3 \u2167 \u0661\u0662\u0663 \u4e09",
    "a\n\nb\n \n c\r\n\r\nd\re\n\n\n",
    " \n \n\t\n  x",
    "end.\n\n\n   The next",
    "!!!...---___@@@###$$$ (a) [b] {c}",
    "snake_case CamelCase kebab-case x=1;y+=2",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308",
    "\u4f60\u597d\uff0c\u4e16\u754c \u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "e\u0301 \u00e9 \ufb01 A\u030a \u212b a\u0301\u0300b",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0939\u093f\u0928\u094d\u0926\u0940 "
    "\u0e20\u0e32\u0e29\u0e32",
    "a\u00a0b\u1680c\u2003d\u3000e\u200bf\u180eg\u0085h\u2028i\u2029j\u001ck\u202fl\u205fm",
    " \u00a0 \u3000x \u2003\u2003",
    "\u0000\u0001\u007f\u0080\u009f",
    "na\u00efve caf\u00e9 \u2014 \u201cquotes\u201d \u2026 \u2018single\u2019",
    "\ufeffbom \U0010ffff \ufffd",
    "<|end|>branch<|end|>",
    "the <|end|> tree<|end|><|end|> 12",
    "<|end <|endless|> <|end|",
    "tree<|plain|>branch <|plain|>",
    "caf<|end|>e<|end|>\u0301",
    "<s>the</s> <unk> \u2581 \u2047",
    "<sep>the tree<sep> <sep>branch<sep>",
    "a" * 100,
    "branch" * 20,
    " " * 70 + "x",
    "ab\n" * 20,
]

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
WHOLE = {**GPT2, "use_regex": False}
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def template(before, after):
    tokens = {"<|end|>": 0, "<|begin|>": 1}

    def special(name):
        return {"SpecialToken": {"id": name, "type_id": 0}}

    sequence = [{"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "type": "TemplateProcessing",
        "single": [special(n) for n in before] + sequence + [special(n) for n in after],
        "pair": sequence + [{"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in tokens.items()},
    }


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def split(pattern):
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def train_bpe():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=460,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|end|>", "<|begin|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    return json.loads(tokenizer.to_str())


def bpe_variants(base):
    """Top-level members that replace those of the base file."""
    model = base["model"]
    pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    # A token that merges cannot make: ignore_merges finds it, they do not.
    vocab = {**model["vocab"], "\u0120zyx": len(model["vocab"])}
    strings = {**model, "merges": [" ".join(p) for p in pairs]}
    plain = {
        "id": len(model["vocab"]),
        "content": "<|plain|>",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": True,
        "special": False,
    }
    no_letters = [t for t in model["vocab"] if t not in ("Q", "\u00c3", "X")]
    return {
        "gpt2": {"pre_tokenizer": GPT2, "model": strings},
        "gpt2_prefix_space": {"pre_tokenizer": {**GPT2, "add_prefix_space": True}},
        "smollm": {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, GPT2)},
        "digit_groups": {
            "pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, GPT2)
        },
        "llama3": {
            "pre_tokenizer": sequence(split(LLAMA3), WHOLE),
            "model": {**model, "vocab": vocab, "merges": pairs, "ignore_merges": True},
            "post_processor": {
                "type": "Sequence",
                "processors": [
                    {**GPT2, "type": "ByteLevel"},
                    template(["<|begin|>"], []),
                ],
            },
        },
        "nfc": {
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": GPT2,
            "added_tokens": base["added_tokens"] + [plain],
            "post_processor": template(["<|begin|>"], ["<|end|>"]),
        },
        "missing_bytes": {
            "pre_tokenizer": WHOLE,
            "model": {**model, "vocab": {t: model["vocab"][t] for t in no_letters}},
        },
        "unknown_token": {
            "model": {
                **model,
                "vocab": {t: model["vocab"][t] for t in no_letters},
                "unk_token": "<|begin|>",
            },
        },
        "fused_unknown_token": {
            "model": {
                **model,
                "vocab": {t: model["vocab"][t] for t in no_letters},
                "unk_token": "<|begin|>",
                "fuse_unk": True,
            },
        },
    }


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=None, separators=(",", ":")) + "\n")


def make_bpe():
    base = train_bpe()
    write(HERE / "bpe" / "tokenizer.json", base)
    strings = STRINGS + [" zyx zyxzyx", "QQX \u00e9Q Xa"]
    cases = []
    for name, members in bpe_variants(base).items():
        document = {**copy.deepcopy(base), **members}
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
        ids = [tokenizer.encode(s).ids for s in strings]
        if "model" in members:  # the test derives the vocabulary, so that the file stays small
            changes = {k: v for k, v in members["model"].items() if v != base["model"].get(k)}
            if "vocab" in changes:
                old, new = base["model"]["vocab"], changes.pop("vocab")
                changes["added"] = {t: i for t, i in new.items() if t not in old}
                changes["removed"] = [t for t in old if t not in new]
            if "merges" in changes:
                changes["merges"] = type(changes["merges"][0]).__name__
            members = {**members, "model": changes}
        cases.append({"name": name, "members": members, "ids": ids})
    write(HERE / "bpe_goldens.json", {"strings": strings, "cases": cases})


def make_sentencepiece():
    cases = []
    options = {
        # As LLaMA's.
        "llama": dict(
            vocab_size=460,
            byte_fallback=True,
            split_digits=True,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            user_defined_symbols=["<sep>"],
        ),
        "squeezed": dict(vocab_size=200, remove_extra_whitespaces=True, add_dummy_prefix=True),
        "across_words": dict(
            vocab_size=200,
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            split_by_whitespace=False,
        ),
        "suffix": dict(
            vocab_size=200, remove_extra_whitespaces=False, treat_whitespace_as_suffix=True
        ),
    }
    for name, option in options.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS.splitlines()),
            model_writer=model,
            model_type="bpe",
            normalization_rule_name="identity",
            character_coverage=1.0,
            minloglevel=2,
            num_threads=1,
            **option,
        )
        path = HERE / "sentencepiece" / f"{name}.model"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        cases.append({"name": name, "ids": [processor.encode(s) for s in STRINGS]})
    write(HERE / "sentencepiece_goldens.json", {"strings": STRINGS, "cases": cases})


if __name__ == "__main__":
    make_bpe()
    make_sentencepiece()
