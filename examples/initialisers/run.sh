#!/usr/bin/env bash
# How the language side starts, compared on real text: English to German and to Vietnamese with a
# small model. How many updates, and how many FLOPs, does each initialiser need to reach the MLM loss
# that a random start has at its end?
#   DATA=FOLDER examples/initialisers/run.sh
#   SMOKE=1 DATA=FOLDER examples/initialisers/run.sh     a few updates, to see that it runs
#   BODY=FILE SOURCE_DATA=FOLDER DATA=... examples/initialisers/run.sh
#                  over a body that is there, with the binarised data that it was trained on
# FOLDER holds (see docs/initialise.md), as JSON Lines with a key `text`:
#   mono/en/wikinews.jsonl.xz mono/de/wikipedia.jsonl.xz mono/vi/wikipedia.jsonl.xz
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
OUT=${OUT:-outputs/initialisers} SEED=${SEED:-1}
VOCABULARY=4000 LENGTH=64 BATCH=32
MODEL=(--encoder-layers 4 --encoder-embed-dim 128 --encoder-ffn-embed-dim 512)
HELPER=(--encoder-layers 2 --encoder-embed-dim 64 --encoder-ffn-embed-dim 256)
PRETRAIN_UPDATES=${PRETRAIN_UPDATES:-10000} HELPER_UPDATES=${HELPER_UPDATES:-2000}
ADAPT_UPDATES=${ADAPT_UPDATES:-2000} EVALUATE_EVERY=${EVALUATE_EVERY:-50}
PRETRAIN_LR=0.002 ADAPT_LR=0.005 TOP_K=10
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT}-smoke PRETRAIN_UPDATES=4 HELPER_UPDATES=4 ADAPT_UPDATES=4 EVALUATE_EVERY=2
fi

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
BODY=${BODY:-} SOURCE_DATA=${SOURCE_DATA:-$OUT/data/en}
keep_settings BODY VOCABULARY LENGTH BATCH MODEL HELPER PRETRAIN_UPDATES HELPER_UPDATES ADAPT_UPDATES \
  EVALUATE_EVERY PRETRAIN_LR ADAPT_LR TOP_K SEED
COMMON=(--criterion joint_masked_lm --encoder-attention-heads 4 --tokens-per-sample "$LENGTH"
  --sample-break-mode none --dropout 0 --attention-dropout 0)

prepare() { # prepare LANGUAGE TEXT
  run "prepare-$1" fairseq-minimodel prepare --output "$OUT/data/$1" --text "$2" \
    --vocabulary-size "$VOCABULARY" --sequence-length "$LENGTH"
}

if [ -z "$BODY" ]; then
  BODY=$OUT/en/checkpoint_last.pt
  prepare en "$DATA/mono/en/wikinews.jsonl.xz"
  train en "$SOURCE_DATA" "$PRETRAIN_UPDATES" $((PRETRAIN_UPDATES / 10)) "$PRETRAIN_LR" \
    --task masked_lm "${MODEL[@]}"
fi

# adapt NAME LANGUAGE OPTIONS...: the losses of the start, and of the whole of training; only logs
# are kept. All layers run, so the validation loss is that of the full model.
adapt() {
  local name=$1 data=$OUT/data/$2
  shift 2
  set -- --task language_adaptation --base-checkpoint "$BODY" \
    --source-dict "$SOURCE_DATA/dict.txt" --no-save "$@"
  train "$name-start" "$data" 1 0 0 "$@"
  train "$name" "$data" "$ADAPT_UPDATES" $((ADAPT_UPDATES / 10)) "$ADAPT_LR" "$@" \
    --validate-interval-updates "$EVALUATE_EVERY"
}

for language in de vi; do
  prepare "$language" "$DATA/mono/$language/wikipedia.jsonl.xz"
  # The helper of CLP-Transfer: a smaller model in the target language, made for this alone.
  train "$language-helper" "$OUT/data/$language" "$HELPER_UPDATES" $((HELPER_UPDATES / 10)) \
    "$PRETRAIN_LR" --task masked_lm "${HELPER[@]}"
  helper=$OUT/$language-helper/checkpoint_last.pt
  for rule in random overlap mean focus; do
    adapt "$language-$rule" "$language" --initialise "$rule"
  done
  adapt "$language-clp" "$language" --initialise clp --helper "$helper"
  adapt "$language-clp-top-$TOP_K" "$language" --initialise clp --helper "$helper" \
    --initialise-top-k "$TOP_K"
done

show table python "$here/compare.py" "$OUT"
end
