#!/usr/bin/env bash
# PAWS-X: paraphrases, English to six languages, at the scale of the paper (docs/recipes.md).
#   TEXT=FOLDER examples/pawsx/run.sh         every step, in order
#   TEXT=FOLDER examples/pawsx/run.sh STEP    one step; --list shows all
#   SMOKE=1 examples/pawsx/run.sh             a few updates on generated languages
set -euo pipefail
OUT=${OUT:-outputs/pawsx} DATA=${DATA:-$OUT/benchmarks} SETS="pawsx"
SOURCE=en LANGUAGES=${LANGUAGES:-de es fr ja ko zh}
TASKS=(pawsx)

task_pawsx() {
  KIND=classification CONFIG=finetune EXAMPLES=32
  TRAIN=(pawsx "$DATA/x-final.tar.gz" train)
  VALID=(pawsx "$DATA/x-final.tar.gz" dev)
  TEST=(pawsx "$DATA/x-final.tar.gz" test)
  # 10 epochs of 49,401 pairs; 6 % of the updates are warm-up
  FINETUNE=(task.num_classes=2 lr_scheduler.warmup_updates=926 lr_scheduler.total_num_update=15440)
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=examples/paper.sh
source "$here/paper.sh"
# shellcheck source=examples/recipe.sh
source "$here/recipe.sh"
