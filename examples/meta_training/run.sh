#!/usr/bin/env bash
# Does preparation on several domains help in one that is held out? English text of five kinds, a small
# body that was pretrained on one of them; TARP alone, and TARP with TAMS.
#   DATA=FOLDER examples/meta_training/run.sh
#   HELD_OUT=snli DATA=FOLDER examples/meta_training/run.sh     another domain is held out
#   SMOKE=1 DATA=FOLDER examples/meta_training/run.sh           a few updates, to see that it runs
#   BODY=FILE SOURCE_DATA=FOLDER DATA=... examples/meta_training/run.sh
#                  over a body that is there, with the binarised data that it was trained on
# FOLDER holds (see docs/meta_training.md):
#   mono/en/wikinews.jsonl.xz mono/en/common-voice.txt.xz parallel/en-sw-globalvoices/train.en.xz
#   parallel/ntrex/newstest2019-src.eng.txt.xz nli/snli-counterfactual/train.tsv.xz
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
OUT=${OUT:-outputs/meta_training} SEED=${SEED:-1} HELD_OUT=${HELD_OUT:-common-voice}
DOMAINS=(wikinews globalvoices ntrex snli common-voice)
VOCABULARY=8000 LENGTH=64 BATCH=16
MODEL=${MODEL:---encoder-layers 4 --encoder-embed-dim 128 --encoder-ffn-embed-dim 512}
# The paper's setting for language modelling is rank 32, one inner step of Adam at 5e-4, outer rate 5e-5.
MODULE=(--module-rank 8 --structure-width 32)
PRETRAIN_UPDATES=${PRETRAIN_UPDATES:-10000} PREPARE_UPDATES=${PREPARE_UPDATES:-2000}
ADAPT_UPDATES=${ADAPT_UPDATES:-500} EVALUATE_EVERY=${EVALUATE_EVERY:-10}
PRETRAIN_LR=0.002 PREPARE_LR=0.0005 INNER_LR=${INNER_LR:-0.0005} INNER_STEPS=${INNER_STEPS:-1}
ADAPT_LR=0.0005 VALID_STEPS=20
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT}-smoke PRETRAIN_UPDATES=4 PREPARE_UPDATES=3 ADAPT_UPDATES=4 EVALUATE_EVERY=2 VALID_STEPS=2
fi

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
BODY=${BODY:-} SOURCE_DATA=${SOURCE_DATA:-$OUT/data/wikinews}
keep_settings HELD_OUT BODY VOCABULARY LENGTH BATCH MODEL MODULE PRETRAIN_UPDATES PREPARE_UPDATES \
  ADAPT_UPDATES EVALUATE_EVERY PRETRAIN_LR PREPARE_LR INNER_LR INNER_STEPS ADAPT_LR VALID_STEPS SEED
# shellcheck disable=SC2206
COMMON=($MODEL --encoder-attention-heads 4 --criterion joint_masked_lm --tokens-per-sample "$LENGTH"
  --sample-break-mode none --dropout 0 --attention-dropout 0 --optimizer adam --weight-decay 0
  --max-valid-steps "$VALID_STEPS")

snli_sentences() { # each once
  xz -dc "$DATA/nli/snli-counterfactual/train.tsv.xz" | tail -n +2 | cut -f 1,2 | tr '\t' '\n' |
    awk 'length && !seen[$0]++' >"$OUT/snli.txt"
}
run snli-sentences snli_sentences

prepare() { # prepare DOMAIN TEXT OPTIONS...: all in the vocabulary of the body's text
  local name=$1 text=$2
  shift 2
  run "prepare-$name" fairseq-minimodel prepare --output "$OUT/data/$name" --text "$text" \
    --sequence-length "$LENGTH" "$@"
}
vocabulary=(--sentencepiece-model "$SOURCE_DATA/sentencepiece.bpe.model"
  --dict "$SOURCE_DATA/dict.txt")
shared=("${vocabulary[@]}" --document-per-line --valid-fraction 0.05)
if [ -z "$BODY" ]; then vocabulary=(--vocabulary-size "$VOCABULARY"); fi
prepare wikinews "$DATA/mono/en/wikinews.jsonl.xz" "${vocabulary[@]}"
prepare globalvoices "$DATA/parallel/en-sw-globalvoices/train.en.xz" "${shared[@]}"
prepare ntrex "$DATA/parallel/ntrex/newstest2019-src.eng.txt.xz" "${shared[@]}"
prepare snli "$OUT/snli.txt" "${shared[@]}"
prepare common-voice "$DATA/mono/en/common-voice.txt.xz" "${shared[@]}"

if [ -z "$BODY" ]; then
  BODY=$OUT/body/checkpoint_last.pt
  train body "$OUT/data/wikinews" "$PRETRAIN_UPDATES" $((PRETRAIN_UPDATES / 10)) "$PRETRAIN_LR" \
    --task masked_lm
fi

known= # the other domains, with colons between them
for domain in "${DOMAINS[@]}"; do
  if [ "$domain" != "$HELD_OUT" ]; then known=${known:+$known:}$OUT/data/$domain; fi
done

adapt() { # adapt NAME KIND START: the losses of the start, and of the whole of training
  set -- "$1" --task masked_lm --task-module "$2" "${MODULE[@]}" --finetune-from-model "$3"
  local name=$1
  shift
  train "$name-start" "$OUT/data/$HELD_OUT" 1 0 0 "$@" --no-save
  train "$name" "$OUT/data/$HELD_OUT" "$ADAPT_UPDATES" $((ADAPT_UPDATES / 10)) "$ADAPT_LR" "$@" \
    --validate-interval-updates "$EVALUATE_EVERY"
}

for kind in tarp tarp+tams; do
  adapt "adapt-$kind-plain" "$kind" "$BODY"
  # The control: the same text and the same updates, and no inner steps.
  for way in meta joint; do
    steps=$INNER_STEPS
    if [ "$way" = joint ]; then steps=0; fi
    train "prepare-$kind-$way" "$known" "$PREPARE_UPDATES" $((PREPARE_UPDATES / 10)) "$PREPARE_LR" \
      --task meta_masked_lm --task-module "$kind" "${MODULE[@]}" --meta-shared module \
      --meta-inner-steps "$steps" --meta-inner-lr "$INNER_LR" --meta-support 8 --meta-query 8 \
      --batch-size 4 --finetune-from-model "$BODY"
    adapt "adapt-$kind-$way" "$kind" "$OUT/prepare-$kind-$way/checkpoint_last.pt"
  done
done

for kind in tarp+tams; do
  for way in plain meta joint; do
    run "module-$kind-$way" fairseq-minimodel module \
      --checkpoint "$OUT/adapt-$kind-$way/checkpoint_last.pt" \
      --output "$OUT/modules/$kind-$way"
    show "structure-$kind-$way" fairseq-minimodel structure --module "$OUT/modules/$kind-$way" \
      --drawing "$OUT/modules/$kind-$way.png"
  done
done
show table python "$here/updates_to_loss.py" "$OUT"
end
