#!/usr/bin/env bash
# MLQA: SQuAD in English to six languages, at the scale of the paper (docs/recipes.md).
#   TEXT=FOLDER examples/mlqa/run.sh          every step, in order
#   TEXT=FOLDER examples/mlqa/run.sh STEP     one step; --list shows all
#   SMOKE=1 examples/mlqa/run.sh              a few updates on generated languages
set -euo pipefail
OUT=${OUT:-outputs/mlqa} DATA=${DATA:-$OUT/benchmarks} SETS="squad mlqa"
SOURCE=en LANGUAGES=${LANGUAGES:-ar de es hi vi zh}
TASKS=(mlqa)

task_mlqa() {
  KIND=questions CONFIG=finetune_questions EXAMPLES=24
  TRAIN=(squad "$DATA/train-v1.1.json" train)
  VALID=(squad "$DATA/dev-v1.1.json" dev)
  TEST=(mlqa "$DATA/MLQA_V1.zip" test)
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=examples/paper.sh
source "$here/paper.sh"
# shellcheck source=examples/recipe.sh
source "$here/recipe.sh"
