#!/usr/bin/env bash
# Installs the package into a virtual environment, as a user would, and tests it.
# The last line is "N passed, N failed".
#
#   python-bindings/tests/run.sh [PYTEST ARGUMENTS...]
#
# FERRITE_VENV: the environment (default: .venv of the checkout; made when missing).
# FERRITE_BUILD: the build with the compiler (default: build of the checkout).
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${FERRITE_VENV:-$root/.venv}
give_up() { printf 'error: %s\n0 passed, 1 failed\n' "$1"; exit 1; }

# The compiler of the rest of the build, where there is one.
if [ -z "${CC:-}" ] && command -v clang-22 clang++-22 > /dev/null; then
  export CC=clang-22 CXX=clang++-22
fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv" || give_up "python3 -m venv does not work"
pip=("$venv/bin/python" -m pip install -q --disable-pip-version-check)
# A folder is always built again, though its version was installed before.
"${pip[@]}" "$root/python-bindings" pytest mypy ml_dtypes onnx==1.23.2 ||
  give_up "pip could not install the package"

log=$(mktemp)
cd "$root/python-bindings" # not in src: the installed package is tested
"$venv/bin/python" -m pytest -p no:cacheprovider "$@" tests 2>&1 | tee "$log"
status=$?
# pytest's closing line: "2 failed, 40 passed, 1 skipped, 1 error in 3.21s".
tail -n 1 "$log" | awk -v status="$status" '{
  for (i = 2; i <= NF; ++i) {
    if ($i ~ /^passed/) passed = $(i - 1)
    if ($i ~ /^(failed|error)/) failed += $(i - 1)
  }
  gsub(/[^0-9]/, "", passed)
  if (status && !failed) failed = 1
  printf "%d passed, %d failed\n", passed, failed
}'
rm -f "$log"
exit "$status"
