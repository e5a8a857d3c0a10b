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

# python_venv NAME PACKAGE...: makes .cache/venv-NAME with exactly these pip requirements, once, and
# prints the path of its interpreter. A virtual environment of our own, because Debian's and
# Ubuntu's system pip refuses to install anything (PEP 668).
python_venv() {
  local name="$1" venv="$cache/venv-$1"
  shift
  local stamp="$venv/.installed" wanted="$*"
  if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
    command -v python3 >/dev/null || fail "python3 is missing. Run scripts/setup first."
    rm -rf "$venv"
    mkdir -p "$cache"
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
