#!/usr/bin/env bash
# English to German on real text, with a small model: news and encyclopedia articles to zero-shot
# topic classification (SIB-200), by all three variants. About an hour on one core.
#   DATA=FOLDER examples/english_german/run.sh
# FOLDER holds (see docs/english_german.md):
#   mono/en/wikinews.jsonl.xz mono/de/wikipedia.jsonl.xz         running text, JSON Lines
#   topic/sib200/{eng_Latn/{train,dev},deu_Latn/dev}.tsv         index_id, category, text
set -euo pipefail
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
OUT=${OUT:-outputs/english_german} SEED=${SEED:-1}
VOCABULARY=4000
LAYERS=4 DEPTH=2 NEW_LAYERS=1 LENGTH=64 BATCH=32 DROPOUT=0.0 BREAK_MODE=complete
MODEL="--encoder-embed-dim 128 --encoder-ffn-embed-dim 512 --encoder-attention-heads 4"
PRETRAIN_UPDATES=3500 POST_UPDATES=800 ADAPT_UPDATES=1500 EVALUATE_EVERY=150 FINETUNE_UPDATES=220
PRETRAIN_LR=0.002 ADAPT_LR=0.005 FINETUNE_LR=0.0003 INITIALISE=overlap
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT}-smoke PRETRAIN_UPDATES=4 POST_UPDATES=2 ADAPT_UPDATES=4 EVALUATE_EVERY=2
  FINETUNE_UPDATES=4
fi

prepare() {
  fairseq-minimodel prepare --output "$OUT/data/$1" --vocabulary-size "$VOCABULARY" \
    --max-line-tokens $((LENGTH - 2)) --text "${@:2}"
}
prepare source "$DATA/mono/en/wikinews.jsonl.xz"
prepare target "$DATA/mono/de/wikipedia.jsonl.xz"
SOURCE_DATA=$OUT/data/source TARGET_DATA=$OUT/data/target
TASK_DATA=$OUT/data/task CLASSES=7 TEXT_COLUMN=text LABEL_COLUMN=category
fairseq-minimodel prepare-classification --output "$TASK_DATA" --text-columns text \
  --label-column category --train "$DATA/topic/sib200/eng_Latn/train.tsv" \
  --valid "$DATA/topic/sib200/eng_Latn/dev.tsv" --dict "$SOURCE_DATA/dict.txt" \
  --sentencepiece-model "$SOURCE_DATA/sentencepiece.bpe.model"
SOURCE_TEST=$DATA/topic/sib200/eng_Latn/dev.tsv TARGET_TEST=$DATA/topic/sib200/deu_Latn/dev.tsv

# shellcheck source=examples/three_variants.sh
source "$examples/three_variants.sh"
