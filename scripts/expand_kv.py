"""Turns a LLaMA with grouped queries into the multi-head model that computes the same function: each
key and value head is repeated for the query heads that share it.

Usage: python3 expand_kv.py MODEL DIR

MODEL has one model.safetensors; DIR must not exist. Needs nothing beside Python. Parameters grow by
the repeated heads.
"""

import json
import pathlib
import shutil
import sys


def read_header(file):
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    return header, 8 + size


def repeats(name, times):
    return times if ".k_proj." in name or ".v_proj." in name else 1


def new_header(header, times):
    expanded = {}
    offset = 0
    for name, entry in header.items():
        if name == "__metadata__":
            expanded[name] = entry
            continue
        begin, end = entry["data_offsets"]
        size = (end - begin) * repeats(name, times)
        shape = [entry["shape"][0] * repeats(name, times), *entry["shape"][1:]]
        expanded[name] = {
            "dtype": entry["dtype"],
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    return expanded


def expand_tensors(source, target, times, kv_heads):
    with source.open("rb") as old, target.open("wb") as new:
        header, start = read_header(old)
        text = json.dumps(new_header(header, times)).encode()
        text += b" " * (-len(text) % 8)
        new.write(len(text).to_bytes(8, "little") + text)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            old.seek(start + begin)
            data = old.read(end - begin)
            if repeats(name, times) == 1:
                new.write(data)
                continue
            head = len(data) // kv_heads  # rows of a head are consecutive
            for i in range(kv_heads):
                new.write(data[i * head : (i + 1) * head] * times)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    model, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    config = json.loads((model / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    target.mkdir(parents=True)
    for file in model.iterdir():
        if file.name not in ("config.json", "model.safetensors") and file.is_file():
            shutil.copy(file, target / file.name)
    config["num_key_value_heads"] = heads
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    expand_tensors(
        model / "model.safetensors", target / "model.safetensors", heads // kv_heads, kv_heads
    )


if __name__ == "__main__":
    main()
