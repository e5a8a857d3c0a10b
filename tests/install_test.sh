#!/usr/bin/env bash
# Installs a build into a scratch folder and runs the programs from there.
#
# Usage: tests/install_test.sh BUILD_FOLDER
set -euo pipefail
prefix="$(mktemp -d)"
trap 'rm -rf "$prefix"' EXIT
cmake --install "$1" --prefix "$prefix" >/dev/null
model="$PWD/models/orchard"
cd / # so that nothing is found by a relative path
"$prefix/bin/espalier-coordinator" --version
"$prefix/bin/espalier-worker" --version
"$prefix/bin/espalier" eval --model "$model" --text "$model/test.txt" --text-format wikitext \
  --sequences 1 --quiet
