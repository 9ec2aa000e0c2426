#!/usr/bin/env bash
# Watch a model learn a language it did not know: two generated languages, three variants.
#   examples/quickstart/run.sh             all of it
#   SMOKE=1 examples/quickstart/run.sh     a few updates of everything, to see that it runs
#   SEED=2 OUT=outputs/seed2 examples/quickstart/run.sh
set -euo pipefail
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

OUT=${OUT:-outputs/quickstart} SEED=${SEED:-1}
SENTENCES=30000 VOCABULARY=500
LAYERS=4 DEPTH=2 NEW_LAYERS=1 LENGTH=64 BATCH=32 DROPOUT=0.0 BREAK_MODE=none
MODEL="--encoder-embed-dim 96 --encoder-ffn-embed-dim 384 --encoder-attention-heads 4"
PRETRAIN_UPDATES=800 POST_UPDATES=300 ADAPT_UPDATES=400 EVALUATE_EVERY=100 FINETUNE_UPDATES=200
PRETRAIN_LR=0.001 ADAPT_LR=0.006 FINETUNE_LR=0.0005 INITIALISE=overlap
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT}-smoke SENTENCES=2000 PRETRAIN_UPDATES=20 POST_UPDATES=10 ADAPT_UPDATES=10
  EVALUATE_EVERY=5 FINETUNE_UPDATES=10
fi

mkdir -p "$OUT"
[ -e "$OUT/text" ] || fairseq-minimodel toy --output "$OUT/text" --seed "$SEED" --sentences "$SENTENCES"
for side in source target; do
  fairseq-minimodel prepare --text "$OUT/text/$side/mono.txt" --output "$OUT/data/$side" \
    --vocabulary-size "$VOCABULARY" --character-coverage 1.0 --sequence-length "$LENGTH"
done
SOURCE_DATA=$OUT/data/source TARGET_DATA=$OUT/data/target
TASK_DATA=$OUT/data/task CLASSES=4 TEXT_COLUMN=text LABEL_COLUMN=label
fairseq-minimodel prepare-classification --output "$TASK_DATA" --text-columns text \
  --label-column label --train "$OUT/text/source/train.tsv" --valid "$OUT/text/source/dev.tsv" \
  --dict "$SOURCE_DATA/dict.txt" --sentencepiece-model "$SOURCE_DATA/sentencepiece.bpe.model"
SOURCE_TEST=$OUT/text/source/test.tsv TARGET_TEST=$OUT/text/target/test.tsv

# shellcheck source=examples/three_variants.sh
source "$examples/three_variants.sh"
