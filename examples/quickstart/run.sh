#!/usr/bin/env bash
# Watch a model learn a language it did not know: two generated languages, three variants, from text to
# a table. Every step is a command of fairseq or of fairseq-minimodel, and is done once: run the script
# again to go on. (run, train and show are in examples/steps.sh.)
#   examples/quickstart/run.sh             all of it
#   SMOKE=1 examples/quickstart/run.sh     a few updates of everything, to see that it runs
#   SEED=2 OUT=outputs/seed2 examples/quickstart/run.sh
set -euo pipefail
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

OUT=${OUT:-outputs/quickstart} SEED=${SEED:-1}
SENTENCES=30000 VOCABULARY=500
LAYERS=4 DEPTH=2 NEW_LAYERS=1 LENGTH=64 BATCH=32
MODEL=(--encoder-embed-dim 96 --encoder-ffn-embed-dim 384 --encoder-attention-heads 4)
PRETRAIN_UPDATES=800 POST_UPDATES=300 ADAPT_UPDATES=400 EVALUATE_EVERY=100 FINETUNE_UPDATES=200
PRETRAIN_LR=0.001 ADAPT_LR=0.006 FINETUNE_LR=0.0005
WORDS=40 # whose translations are known
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT}-smoke SENTENCES=2000 PRETRAIN_UPDATES=20 POST_UPDATES=10 ADAPT_UPDATES=10
  EVALUATE_EVERY=5 FINETUNE_UPDATES=10
fi

# shellcheck source=examples/steps.sh
source "$examples/steps.sh"
keep_settings SENTENCES VOCABULARY MODEL LAYERS DEPTH NEW_LAYERS LENGTH BATCH PRETRAIN_UPDATES \
  POST_UPDATES ADAPT_UPDATES EVALUATE_EVERY FINETUNE_UPDATES PRETRAIN_LR ADAPT_LR FINETUNE_LR \
  WORDS SEED
COMMON=(--log-interval 50)
MLM=(--criterion joint_masked_lm --tokens-per-sample "$LENGTH" --sample-break-mode none
  --dropout 0 --attention-dropout 0)

# The data: text in two languages, and labelled examples in the first.
run text fairseq-minimodel toy --output "$OUT/text" --seed "$SEED" --sentences "$SENTENCES"
for side in source target; do
  run "prepare-$side" fairseq-minimodel prepare --text "$OUT/text/$side/mono.txt" \
    --output "$OUT/data/$side" --vocabulary-size "$VOCABULARY" --character-coverage 1.0 \
    --sequence-length "$LENGTH"
done
run prepare-task fairseq-minimodel prepare-classification --output "$OUT/data/task" \
  --train "$OUT/text/source/train.tsv" --valid "$OUT/text/source/dev.tsv" \
  --text-columns text --label-column label --dict "$OUT/data/source/dict.txt" \
  --sentencepiece-model "$OUT/data/source/sentencepiece.bpe.model"

# Step 1: one model with two MLM heads. Its full depth serves Standard, its bottom MiniJoint.
train pretrained "$OUT/data/source" "$PRETRAIN_UPDATES" $((PRETRAIN_UPDATES / 10)) "$PRETRAIN_LR" \
  --task masked_lm "${MLM[@]}" "${MODEL[@]}" --encoder-layers "$LAYERS" \
  --auxiliary-head-layers "$DEPTH"

# Step 1b, MiniPost: on the frozen bottom layers, copies of the next one and of the head learn on.
run extend fairseq-minimodel extend --body "$OUT/pretrained/checkpoint_last.pt" --depth "$DEPTH" \
  --new-layers "$NEW_LAYERS" --seed "$SEED" --output "$OUT/extended.pt"
train post "$OUT/data/source" "$POST_UPDATES" $((POST_UPDATES / 10)) "$PRETRAIN_LR" \
  --task masked_lm "${MLM[@]}" "${MODEL[@]}" --encoder-layers $((DEPTH + NEW_LAYERS)) \
  --freeze "bottom:$DEPTH" --finetune-from-model "$OUT/extended.pt"

# Step 2: a language side for the target language, three times, from a start that knows a few words.
first_words() { head -n "$WORDS" "$OUT/text/dictionary.tsv" >"$OUT/words.tsv"; }
run word-list first_words
adapt() { # adapt NAME BASE UPDATES OPTIONS...
  local name=$1 base=$2 updates=$3
  shift 3
  train "$name" "$OUT/data/target" "$updates" $((updates / 10)) "$ADAPT_LR" \
    --task language_adaptation "${MLM[@]}" --base-checkpoint "$base" --initialise aligned \
    --dictionary "$OUT/words.tsv" --source-dict "$OUT/data/source/dict.txt" \
    --save-interval-updates "$EVALUATE_EVERY" "$@"
}
adapt standard "$OUT/pretrained/checkpoint_last.pt" "$ADAPT_UPDATES"
adapt minijoint "$OUT/pretrained/checkpoint_last.pt" "$ADAPT_UPDATES" --depth "$DEPTH"
adapt minipost "$OUT/post/checkpoint_last.pt" "$ADAPT_UPDATES"
# The controls, without training: that start, and one that knows equal strings alone.
start() { # start NAME OPTIONS...
  run "start-$1" fairseq-minimodel start --body "$OUT/pretrained/checkpoint_last.pt" \
    --data "$OUT/data/target" --source-dict "$OUT/data/source/dict.txt" --language target \
    --seed "$SEED" --output "$OUT/packs/$1" "${@:2}"
}
start untrained --initialise overlap
start words --initialise aligned --dictionary "$OUT/words.tsv"

# Step 3: fine-tune the whole model in the source language, language side frozen.
train finetuned "$OUT/data/task" "$FINETUNE_UPDATES" $((FINETUNE_UPDATES / 10)) "$FINETUNE_LR" \
  --task sentence_prediction --criterion sentence_prediction --num-classes 4 \
  --init-token 0 --separator-token 2 --max-positions "$LENGTH" --shorten-method truncate \
  "${MODEL[@]}" --encoder-layers "$LAYERS" --freeze language \
  --finetune-from-model "$OUT/pretrained/checkpoint_last.pt" --dropout 0.1 --pooler-dropout 0.1 \
  --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric

# Step 4: zero-shot scores, along the way and at the end.
for name in standard minijoint minipost; do
  run "pack-$name" fairseq-minimodel pack --language target --output "$OUT/packs/$name" \
    --checkpoint "$OUT/$name"/checkpoint_*_[0-9]*.pt
done
run pack-source fairseq-minimodel pack --checkpoint "$OUT/pretrained/checkpoint_last.pt" \
  --language source --output "$OUT/packs/source"
tests=(--test "$OUT/packs/source" "$OUT/text/source/test.tsv"
  --test "$OUT/packs/untrained" "$OUT/text/target/test.tsv"
  --test "$OUT/packs/words" "$OUT/text/target/test.tsv")
for pack in "$OUT"/packs/{standard,minijoint,minipost}/*; do
  tests+=(--test "$pack" "$OUT/text/target/test.tsv")
done
run evaluate fairseq-minimodel evaluate --body "$OUT/finetuned/checkpoint_best.pt" "${tests[@]}" \
  --text-columns text --label-column label --json "$OUT/scores.json"

# And whether a language side fits the full body: MLM loss of the full model in the target language.
for name in standard minijoint minipost untrained words; do
  pack=$OUT/packs/$name
  if [ ! -e "$pack/dict.txt" ]; then pack=$(printf '%s\n' "$pack"/* | sort -V | tail -n 1); fi
  run "plug-$name" fairseq-minimodel plug --body "$OUT/pretrained/checkpoint_last.pt" \
    --pack "$pack" --output "$OUT/plugged/$name"
  run "validate-$name" fairseq-validate "$OUT/data/target" --user-dir "$USER_DIR" "${DEVICE[@]}" \
    --path "$OUT/plugged/$name/model.pt" --task masked_lm --valid-subset valid \
    --tokens-per-sample "$LENGTH" --sample-break-mode none --batch-size "$BATCH" \
    --required-batch-size-multiple 1 --seed "$SEED" --num-workers 0 --log-format json
done

show table python "$examples/compare_variants.py" "$OUT"
end
