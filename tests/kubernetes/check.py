#!/usr/bin/env python3
"""Checks deploy/kubernetes without a cluster.

1. Every manifest, and every kustomization's result where kubectl is installed, against schemas
   (schemas.py).
2. What the manifests must agree on with each other, with the programs' --help and with the
   documentation (rules.py).
3. A coordinator and a CPU worker under their manifests' command lines run a job, answer the probes
   and end on SIGTERM (live.py).

Usage: tests/kubernetes_test.sh [--bin build/release/bin] [--manifests deploy/kubernetes]
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import live
import manifests as m
import rules
import schemas

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ["espalier-coordinator", "espalier-worker", "espalier"]


def read_help(programs):
    shown = {}
    for program in PROGRAMS:
        command = [programs / program, "--help"]
        shown[program] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return shown


def check_schemas(deployment):
    findings = []
    for manifest in deployment.manifests:
        findings += schemas.check(manifest)
    built = 0
    for path, _ in deployment.kustomizations:
        try:
            for manifest in m.kustomized(path) or []:
                built += 1
                findings += schemas.check(manifest)
        except ValueError as error:
            findings.append(f"{path}: {error}")
    print(f"{len(deployment.manifests)} manifests against schemas; {built} as kustomize makes them")
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--manifests", type=pathlib.Path, default=ROOT / "deploy/kubernetes")
    arguments = parser.parse_args()
    programs = arguments.bin.resolve()
    if not (programs / "espalier").exists():
        sys.exit(f"no programs in {programs}; build first")
    manifests, kustomizations = m.load(arguments.manifests)
    deployment = rules.Deployment(
        ROOT, arguments.manifests, manifests, kustomizations, read_help(programs)
    )
    findings = check_schemas(deployment)
    for rule in rules.RULES:
        findings += [f"{finding} ({rule.__name__})" for finding in rule(deployment)]
    print(f"{len(rules.RULES)} rules")
    if not findings:
        try:
            with tempfile.TemporaryDirectory() as work:
                live.run(deployment, programs, pathlib.Path(work))
            print("a coordinator and a worker ran a job as the manifests start them")
        except live.Failure as failure:
            findings.append(str(failure))
    for finding in findings:
        print(f"FAILED: {finding}")
    print("kubernetes: " + ("ok" if not findings else f"{len(findings)} findings"))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
