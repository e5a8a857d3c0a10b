# Shared by the scripts in this folder (sourced, not run).
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cache="$root/.cache"

say() { printf '%s\n' "$*" >&2; }

# fail MESSAGE...: says what is wrong and what to do, and ends the script.
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# need_cache: makes .cache/ and checks that it can be written to.
need_cache() {
  mkdir -p "$cache" 2>/dev/null && [[ -w "$cache" ]] ||
    fail "cannot write to $cache. Run this as the user who owns the clone ($(stat -c %U "$root"))."
}

# usage: prints the comment at the top of the running script.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# python_venv NAME PACKAGE...: makes .cache/venv-NAME with exactly these pip requirements, once, and
# prints the path of its interpreter. A virtual environment of our own, because Debian's and
# Ubuntu's system pip refuses to install anything (PEP 668).
python_venv() {
  local name="$1" venv="$cache/venv-$1"
  shift
  command -v python3 >/dev/null || fail "python3 is missing. Run scripts/setup first."
  # The interpreter belongs to the stamp: one that was upgraded or removed breaks the environment.
  local stamp="$venv/.installed" wanted
  wanted="$(python3 --version 2>&1) $*"
  if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
    need_cache
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 ||
      fail "python3 cannot make virtual environments. Run scripts/setup, or install python3-venv."
    if (($# > 0)); then
      "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2 ||
        fail "pip could not install: $*. Is there a network connection?"
    fi
    printf '%s\n' "$wanted" >"$stamp"
  fi
  printf '%s\n' "$venv/bin/python"
}

# configure PRESET [CMAKE_ARGUMENT...]: CMake's configuration, shown only when it fails.
configure() {
  local preset="$1" log="$cache/configure-$1.log"
  shift
  need_cache
  (cd "$root" && cmake --preset "$preset" \
    -DLIBTORCH_ROOT="${LIBTORCH_ROOT:-$cache/libtorch/torch}" "$@") >"$log" 2>&1 || {
    cat "$log" >&2
    fail "CMake could not configure the $preset preset (see above)."
  }
}

# build PRESET [TARGET...]: compiles; all of the default targets when none is named.
build() {
  local preset="$1" target targets=()
  shift
  for target in "$@"; do targets+=(--target "$target"); done
  # Lets ccache serve files that are compiled with a precompiled header, and another clone's.
  export CCACHE_SLOPPINESS="${CCACHE_SLOPPINESS:-pch_defines,time_macros}"
  export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$root}"
  (cd "$root" && cmake --build --preset "$preset" --parallel "$(jobs_at_once)" "${targets[@]}") ||
    fail "the build of the $preset preset failed (see above)."
}

# How many compilers fit: one a core, but at most one for each 1.5 GB of memory.
jobs_at_once() {
  awk -v cores="$(nproc)" '/^MemAvailable:/ {
    fit = int($2 / 1500000); print fit < 1 ? 1 : fit < cores ? fit : cores }' /proc/meminfo
}

# find_smollm2: lets the tests against reference values see the model: the folder that
# ESPALIER_SMOLLM2 names, else .cache/smollm2, which is made. Those tests skip themselves otherwise.
find_smollm2() {
  if [[ -z "${ESPALIER_SMOLLM2-}" ]] && "$root/scripts/get-smollm2" "$cache/smollm2"; then
    export ESPALIER_SMOLLM2="$cache/smollm2"
  fi
}
