#!/usr/bin/env python3
"""Candidates a second of one job on different arrangements of workers, all on this machine.

Real processes over loopback: a coordinator, and workers that together have the same number of
threads: one worker with two; two replicas of one thread; one replica of two stages of one thread;
and, for the memory, four stages. Prints a table with the rate of the search (dense-sized work would
be the same everywhere), its ratio to the first row, and every worker's resident memory at the end
of the search (anonymous: weights and scratch; file: pages of the model's files).

Usage: benchmarks/topologies.py BUILD_DIR MODEL TEXT [--format wikitext] [--generations 3]
"""

import argparse
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

# name, threads of each worker, stages of the job
ARRANGEMENTS = [
    ("1 worker, 2 threads", [2], 1),
    ("2 replicas, 1 thread each", [1, 1], 1),
    ("2 stages, 1 thread each", [1, 1], 2),
    ("4 stages, 1 thread each", [1, 1, 1, 1], 4),
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def resident(pid):
    """Bytes of anonymous and of file pages."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    kib = {key: int(value) for key, value in re.findall(r"(Rss\w+):\s+(\d+) kB", status)}
    return kib["RssAnon"] << 10, kib["RssFile"] << 10


def run(args, threads, stages, folder):
    programs = pathlib.Path(args.build) / "bin"
    address = f"127.0.0.1:{free_port()}"
    processes = [
        subprocess.Popen(
            [programs / "espalier-coordinator", "--listen", address, "--state", "none",
             "--status-listen", "none"],
            stderr=subprocess.DEVNULL)
    ]
    try:
        for count in threads:
            processes.append(
                subprocess.Popen(
                    [programs / "espalier-worker", "--coordinator", address, "--threads",
                     str(count)],
                    stderr=subprocess.DEVNULL))
        client = [programs / "espalier", "submit", "--coordinator", address, "--model", args.model,
                  "--text", args.text, "--text-format", args.format, "--ratio", "0.7", "--method",
                  "paper", "--output", folder / "out", "--sequence-length", str(args.length), "--search-sequences",
                  str(args.sequences), "--calibration-sequences", "2", "--generations",
                  str(args.generations), "--population", str(args.population), "--stages",
                  str(stages)]
        until = time.monotonic() + 60
        while True:
            listed = subprocess.run([programs / "espalier", "workers", "--coordinator", address,
                                     "--json"], capture_output=True, text=True)
            if listed.returncode == 0 and listed.stdout.count('"device"') >= len(threads):
                break
            if time.monotonic() > until:
                sys.exit("the workers did not attach")
            time.sleep(0.1)
        subprocess.run(client, check=True, stdout=subprocess.DEVNULL)
        memory = []
        rate = None
        begin = end = None
        watch = subprocess.Popen(
            [programs / "espalier", "watch", "job-1", "--coordinator", address, "--json"],
            stdout=subprocess.PIPE, text=True)
        for line in watch.stdout:
            event = json.loads(line)
            progress = event.get("progress", {})
            if progress.get("phase") == "search":
                done, now = progress.get("done", 0), time.monotonic()
                # From the second candidate on, when every stage is at work.
                if done >= args.population and begin is None:
                    begin = (done, now)
                if begin and done > begin[0]:
                    end = (done, now)
            elif progress.get("phase") in ("reform", "evaluate") and not memory:
                memory = [resident(p.pid) for p in processes[1:]]
        watch.wait()
        if begin and end:
            rate = (end[0] - begin[0]) / (end[1] - begin[1])
        return rate, memory
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build")
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--format", default="plain")
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--sequences", type=int, default=2)
    args = parser.parse_args()
    args.model = str(pathlib.Path(args.model).resolve())
    args.text = str(pathlib.Path(args.text).resolve())
    first = None
    for name, threads, stages in ARRANGEMENTS:
        with tempfile.TemporaryDirectory() as folder:
            rate, memory = run(args, threads, stages, pathlib.Path(folder))
        if rate is None:
            sys.exit(f"{name}: the job did not get through its search")
        first = first or rate
        shares = ", ".join(f"{a / 2**20:.0f} + {f / 2**20:.0f}" for a, f in memory)
        print(f"{name:28} {rate:7.3f}/s  {rate / first:5.2f}  {shares} MiB", flush=True)


if __name__ == "__main__":
    main()
