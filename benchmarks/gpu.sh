#!/usr/bin/env bash
# All that needs a GPU, in one run of under ten minutes and without a network: the project's tests on it,
# losses and gradients beside the CPU's, and the speed of adaptation (benchmarks/gpu.py).
#
#   benchmarks/gpu.sh                      with the environment whose Python is first on PATH
#   benchmarks/gpu.sh [--keep-torch] ENVIRONMENT
#                                          in a folder of `make gather` (docs/install.md): with that
#                                          environment, into which install.sh installs first if need be
#   SMOKE=1 benchmarks/gpu.sh              small, on the CPU, to see that it runs: a minute
#
# OUT=FOLDER    of results.json and the logs
# BUDGET=540    seconds from here on, the installation included; what does not fit is left out
# TOKENS=16384  of a batch; fewer where the GPU's memory is small
#
# Ends with 1 if a test, a comparison or a measurement failed, and with 2 if it cannot begin.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  printf 'gpu.sh: error: %s\n' "$1" >&2
  exit 2
}

OUT=${OUT:-outputs/gpu} BUDGET=${BUDGET:-540} options=()
for name in BUDGET TOKENS; do
  [[ ${!name-1} =~ ^[1-9][0-9]*$ ]] || fail "$name is a whole number above 0, not ${!name}"
done
if [ -n "${TOKENS:-}" ]; then options+=(--tokens "$TOKENS"); fi
if [ -n "${SMOKE:-}" ]; then
  OUT=$OUT-smoke options+=(--smoke)
  export CUDA_VISIBLE_DEVICES=
fi

if [ $# -gt 0 ]; then
  environment=${!#}
  if ! "$environment/bin/python" -c 'import fairseq_minimodel, fairseq' 2>/dev/null; then
    [ -e "$root/install.sh" ] ||
      fail "$environment has no fairseq-minimodel: install it there (docs/install.md)"
    sh "$root/install.sh" "$@" || exit
  fi
  PATH=$(cd "$environment/bin" && pwd):$PATH
fi
python -c 'import fairseq_minimodel, fairseq' 2>/dev/null ||
  fail "the first python on PATH has no fairseq-minimodel: activate its environment, or name it"
python - "${SMOKE:-}" <<'PYTHON' || fail "PyTorch finds no GPU here; SMOKE=1 shows on a CPU that this runs"
import sys, torch
sys.exit(0 if sys.argv[1] or torch.cuda.is_available() else 1)
PYTHON

mkdir -p "$OUT"
status=0
if python -c 'import pytest' 2>/dev/null; then
  # the files that have such tests, and no others: what those import may not be there
  mapfile -t files < <(grep -rl --include='test_*.py' '^@pytest.mark.gpu$' "$root/tests")
  timeout $((BUDGET / 3 + 1)) python -m pytest --rootdir "$root" -c "$root/pyproject.toml" \
    -p no:cacheprovider -m gpu "${files[@]}" >"$OUT/tests.log" 2>&1 || status=$?
  if [ "$status" = 124 ]; then echo "a third of the budget was not enough" >>"$OUT/tests.log"; fi
else
  echo "left out, as pytest is not installed" >"$OUT/tests.log"
fi

left=$((BUDGET - SECONDS))
python "$root/benchmarks/gpu.py" --json "$OUT/results.json" --tests "$OUT/tests.log" \
  --budget $((left > 0 ? left : 0)) "${options[@]}" || exit
echo "$OUT/results.json has all figures"
if [ "$status" != 0 ]; then
  echo "gpu.sh: tests failed: $OUT/tests.log" >&2
  exit 1
fi
