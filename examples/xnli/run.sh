#!/usr/bin/env bash
# XNLI: MultiNLI in English to 14 languages, at the scale of the paper (docs/recipes.md).
#   TEXT=FOLDER examples/xnli/run.sh          every step, in order
#   TEXT=FOLDER examples/xnli/run.sh STEP     one step; --list shows all
#   SMOKE=1 examples/xnli/run.sh              a few updates on generated languages
set -euo pipefail
OUT=${OUT:-outputs/xnli} DATA=${DATA:-$OUT/benchmarks} SETS="multinli xnli"
SOURCE=en LANGUAGES=${LANGUAGES:-ar bg de el es fr hi ru sw th tr ur vi zh}
TASKS=(xnli)

task_xnli() {
  KIND=classification CONFIG=finetune EXAMPLES=32
  TRAIN=(multinli "$DATA/multinli_1.0.zip" train)
  VALID=(xnli "$DATA/XNLI-1.0.zip" dev)
  TEST=(xnli "$DATA/XNLI-1.0.zip" test)
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=examples/paper.sh
source "$here/paper.sh"
# shellcheck source=examples/recipe.sh
source "$here/recipe.sh"
