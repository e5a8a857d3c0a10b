#!/usr/bin/env python3
"""Writes the binary seeds of fuzz/corpus anew: files by hand would be hard to read and to change.

Usage: fuzz/make_seeds.py     (from anywhere; needs no packages)
"""

import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def write(name, data):
    path = CORPUS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# ---- Protocol buffers' wire format ----


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def float32(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def float64(field, value):
    return varint(field << 3 | 1) + struct.pack("<d", value)


def nested(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


# ---- Safetensors ----


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_seeds():
    two = {"__metadata__": {"format": "pt"},
           "a": tensor("F32", [2, 3], 0, 24),
           "b": tensor("BF16", [2], 24, 28)}
    yield "two", safetensors(two, bytes(range(28)))
    yield "empty", safetensors({})
    yield "scalar-and-nothing", safetensors(
        {"a": tensor("F16", [], 0, 2), "b": tensor("F32", [0, 5], 2, 2)}, b"\0\0")
    yield "unknown-type", safetensors({"a": tensor("F4", [3], 0, 1)}, b"\0")
    yield "overlap", safetensors(
        {"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, bytes(3))
    yield "hole", safetensors(
        {"a": tensor("U8", [1], 0, 1), "b": tensor("U8", [1], 2, 3)}, bytes(3))
    yield "overflow", safetensors({"a": tensor("F64", [2**61, 2**61], 0, 8)}, bytes(8))
    yield "twice", safetensors(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"\0")
    yield "truncated", safetensors(two, bytes(20))
    yield "length-too-large", safetensors({}, length=2**63)
    yield "two-parts", json.dumps(two).encode() + b"\n%%\n" + bytes(range(28))
    yield "behind-a-nul", safetensors(b'{}\0{"a":1}')
    yield "deep", safetensors(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}")


# ---- Sentencepiece (src/sentencepiece_model.proto) ----

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
SPACE = "\u2581"


def piece(text, score=0.0, kind=NORMAL):
    return nested(1, nested(1, text.encode()) + float32(2, score) + number(3, kind))


def sentencepiece(pieces, trainer=b"", normalizer=b""):
    specials = [piece("<unk>", 0, UNKNOWN), piece("<s>", 0, CONTROL), piece("</s>", 0, CONTROL)]
    return (b"".join(specials + pieces) + nested(2, number(3, 2) + trainer) +
            nested(3, nested(1, b"identity") + normalizer))


def sentencepiece_seeds():
    words = [piece(SPACE, -9), piece("a", -8), piece("b", -7), piece("ab", -1),
             piece(SPACE + "ab", -2)]
    all_bytes = [piece(f"<0x{byte:02X}>", 0, BYTE) for byte in range(256)]
    text = "\n%%\n ab  abä<s>".encode()
    yield "words", sentencepiece(words) + text
    yield "bytes", sentencepiece(words + all_bytes, trainer=number(35, 1)) + text
    yield "user-defined", sentencepiece(words + [piece("ba", 0, USER_DEFINED)]) + text
    yield "suffix", sentencepiece(
        words, trainer=number(24, 1), normalizer=number(3, 1) + number(4, 0) + number(5, 0)) + text
    yield "across-words", sentencepiece(words + [piece("b" + SPACE + "a", -3)]) + text
    yield "unigram", sentencepiece(words, trainer=number(3, 1))
    yield "twice", sentencepiece(words + [piece("a")])
    yield "not-a-number", sentencepiece([piece("a", float("nan"))])
    yield "truncated", sentencepiece(words)[:40]


# ---- Messages (proto/espalier/v1) ----


def masks(layers):
    return b"".join(nested(1, b"".join(nested(1, group) for group in attention) + nested(2, mlp))
                    for attention, mlp in layers)


def subnet_message_seeds():
    yield "dense", b""
    yield "two-layers", masks([([b"\x0f", b"\x01", b"\x00"], b"\xff\xff\x0f"),
                               ([b"\x00", b"\x00", b"\x00"], b"\x00\x00\x00")])
    yield "bits-beyond", masks([([b"\x1f", b"\x01", b"\x00"], b"\xff\xff\xff")])
    yield "one-layer", masks([([b"\x0f", b"\x01", b"\x00"], b"\xff\xff\x0f")])
    yield "short", masks([([b"", b"\x01"], b"\xff")] * 2)


def journal_seeds():
    time = number(1, 1_700_000_000_123)
    key = nested(1, number(1, 2) + number(2, 7) + number(3, 1))
    losses = nested(1, struct.pack("<3d", 1.5, 2.5, 3.5)) + number(2, 255)
    yield "texts", time + nested(2, nested(1, b"c") + nested(2, b"s") + nested(4, b"t"))
    yield "model", time + nested(3, nested(1, b"0123") + nested(2, b"worker"))
    yield "evaluated", time + nested(4, key + nested(2, nested(6, losses) + float64(9, 0.5)))
    scores = nested(1, nested(1, nested(1, struct.pack("<2d", 1, 2))) +
                    nested(2, struct.pack("<2d", 3, 4)))
    yield "calibrated", time + nested(4, key + nested(2, nested(5, scores)))
    fit = nested(1, number(1, 3) + number(2, 1) + float64(3, 2.0) + float64(4, 1.0))
    yield "reformed", time + nested(4, key + nested(2, nested(7, fit)))
    yield "failed", time + nested(5, key + nested(2, b"out of memory"))
    yield "no-fact", time
    yield "unknown-kind", time + nested(4, nested(1, number(1, -1)))
    yield "earliest", number(1, -(2**63)) + nested(2, b"")
    # A JobEvent: number, time, state, progress, message, result.
    yield "event", (number(1, 5) + number(2, 1_700_000_000_123) + number(3, 2) +
                    nested(4, number(1, 4) + number(2, 10)) + nested(5, b"hello"))


def bitmask_seeds():
    yield "none", struct.pack("<q", 0)
    yield "twelve", struct.pack("<q", 12) + b"\xff\x0f"
    yield "twelve-hexadecimal", struct.pack("<q", 12) + b"fF0a"
    yield "bit-beyond", struct.pack("<q", 12) + b"\xff\x1f"
    yield "no-digit", struct.pack("<q", 8) + b"0g"
    yield "negative", struct.pack("<q", -1)
    yield "largest", struct.pack("<q", 2**63 - 1) + b"\0"


def main():
    for target, seeds in [("safetensors", safetensors_seeds), ("sentencepiece", sentencepiece_seeds),
                          ("subnet_message", subnet_message_seeds), ("journal", journal_seeds),
                          ("bitmask", bitmask_seeds)]:
        for name, data in seeds():
            write(f"{target}/{name}", data)


if __name__ == "__main__":
    main()
