#!/usr/bin/env bash
# Checks deploy/kubernetes without a cluster: every manifest against the Kubernetes schemas, what
# they say against each other and the programs, and the programs under the manifests' command lines
# (tests/kubernetes/check.py says what exactly).
#
# Usage: tests/kubernetes_test.sh [--bin FOLDER_OF_PROGRAMS] [--manifests FOLDER]
#
# The schemas come with the Python package kubernetes-validate, which is installed into .cache/.
# When that is not possible it exits with 77 (skipped).
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

case "${1-}" in
  -h | --help) usage; exit 0 ;;
esac

python="$(python_venv kubernetes 'kubernetes-validate==1.37.0')" || {
  echo "skipped: kubernetes-validate, which has the schemas, cannot be installed (see above)"
  exit 77
}
cd "$root"
exec "$python" tests/kubernetes/check.py "$@"
