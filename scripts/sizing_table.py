#!/usr/bin/env python3
"""Prints the sizing tables of docs/operations.md, made by `espalier plan`.

Usage: scripts/sizing_table.py [PROGRAM]      default: build/release/bin/espalier
"""
import json
import pathlib
import subprocess
import sys
import tempfile

MODELS = {  # layers, hidden size, heads, intermediate size
    "LLaMA-7B": (32, 4096, 32, 11008),
    "LLaMA-13B": (40, 5120, 40, 13824),
    "LLaMA-30B": (60, 6656, 52, 17920),
    "LLaMA-65B": (80, 8192, 64, 22016),
}
DEVICES = ("a100-40g", "a100-80g", "h100-80g")
PER_NODE = 8


def config(layers, hidden, heads, intermediate):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads,
        "intermediate_size": intermediate, "vocab_size": 32000, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 2048,
    }


def plan(program, folder, device, devices):
    command = [program, "plan", "--model", folder, "--ratio", "0.7", "--precision", "bfloat16",
               "--device-type", device, "--devices", str(devices), "--json"]
    # Status 1: it does not fit, which the object says as well.
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


def row(name, device, job):
    def gib(key):
        return max(stage[key] for stage in job["stages"]) / 2**30

    minutes = {phase["name"]: phase["seconds"] / 60 for phase in job["phases"]}
    search = minutes["sensitivities"] + minutes["search"]
    last = minutes["reformation"] + minutes["evaluation"]
    return (f"| {name} | {device} | {len(job['stages'])} | {gib('weight_bytes'):.1f} | "
            f"{gib('statistics_bytes'):.1f} | {gib('working_bytes'):.1f} | {gib('bytes'):.1f} | "
            f"{gib('host_bytes'):.0f} | {job['replicas']} | "
            f"{sum(minutes.values()) - search - last:.1f} | {search:.1f} | {last:.1f} | "
            f"{sum(minutes.values()):.0f} |")


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "build/release/bin/espalier"
    print("| model | device | stages | weights | statistics | working | in all | host | replicas | "
          "calibration | search | reformation | minutes |")
    print("|---|---|" + "---:|" * 11)
    for name, shape in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "config.json"
            path.write_text(json.dumps(config(*shape)), encoding="utf-8")
            for device in DEVICES:
                job = plan(program, folder, device, PER_NODE)
                if not job["fits"] and job["smallest_stages"] == 0:
                    print(f"| {name} | {device} | no number of stages fits |" + " |" * 10)
                    continue
                if not job["fits"]:
                    devices = -(-job["smallest_stages"] // PER_NODE) * PER_NODE
                    job = plan(program, folder, device, devices)
                    device += f" ({devices // PER_NODE} nodes)"
                print(row(name, device, job))


if __name__ == "__main__":
    main()
