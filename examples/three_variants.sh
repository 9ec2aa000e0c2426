# Mini-model adaptation by all three variants, from binarised text to a table: sourced by the
# run.sh of an example, which sets the variables below. Every step is a command of fairseq or of
# fairseq-minimodel. A step that is done is not done again: run the script again to go on.
#
#   OUT                      folder of all results
#   SOURCE_DATA TARGET_DATA  folders made by `fairseq-minimodel prepare`
#   TASK_DATA CLASSES        folder made by `prepare-classification`; number of classes
#   SOURCE_TEST TARGET_TEST  labelled test sets (TSV)
#   TEXT_COLUMN LABEL_COLUMN where text and label stand in them
#   MODEL LAYERS             sizes of the model (options of fairseq-train); number of layers
#   DEPTH NEW_LAYERS         layers of the mini-model; layers that MiniPost puts on top of them
#   LENGTH BATCH BREAK_MODE  tokens a sequence, sequences an update, what a sequence may hold
#   PRETRAIN_UPDATES POST_UPDATES ADAPT_UPDATES EVALUATE_EVERY FINETUNE_UPDATES
#   PRETRAIN_LR ADAPT_LR FINETUNE_LR DROPOUT SEED INITIALISE

# shellcheck source=examples/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

USER_DIR=$(fairseq-minimodel user-dir)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two spinning pools on busy cores are slower than one
DEVICE=$(python -c 'import torch; print("" if torch.cuda.is_available() else "--cpu")')
mkdir -p "$OUT/packs"

keep_settings CLASSES MODEL LAYERS DEPTH NEW_LAYERS LENGTH BATCH BREAK_MODE PRETRAIN_UPDATES \
  POST_UPDATES ADAPT_UPDATES EVALUATE_EVERY FINETUNE_UPDATES PRETRAIN_LR ADAPT_LR FINETUNE_LR \
  DROPOUT SEED INITIALISE

# train NAME DATA UPDATES WARM_UP LR OPTIONS...: fairseq-train into $OUT/NAME
train() {
  local name=$1 data=$2 updates=$3 warm_up=$4 rate=$5
  shift 5
  # shellcheck disable=SC2086
  run "$name" fairseq-train "$data" --user-dir "$USER_DIR" --save-dir "$OUT/$name" $DEVICE \
    --optimizer fused_adam --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --weight-decay 0.01 \
    --lr "$rate" --lr-scheduler polynomial_decay --warmup-updates "$warm_up" \
    --total-num-update "$updates" --max-update "$updates" --batch-size "$BATCH" --seed "$SEED" \
    --required-batch-size-multiple 1 --num-workers 0 --log-format json --log-interval 50 \
    --no-epoch-checkpoints "$@"
}

MLM=(--tokens-per-sample "$LENGTH" --sample-break-mode "$BREAK_MODE"
  --dropout "$DROPOUT" --attention-dropout "$DROPOUT")

# Step 1: one model with two MLM heads. Its full depth serves Standard, its bottom MiniJoint.
# shellcheck disable=SC2086
train pretrained "$SOURCE_DATA" "$PRETRAIN_UPDATES" $((PRETRAIN_UPDATES / 10)) "$PRETRAIN_LR" \
  --task masked_lm --criterion joint_masked_lm --arch minimodel_roberta $MODEL \
  --encoder-layers "$LAYERS" --auxiliary-head-layers "$DEPTH" "${MLM[@]}"

# Step 1b, MiniPost: new layers and a new head on the frozen bottom layers.
run extend fairseq-minimodel extend --body "$OUT/pretrained/checkpoint_last.pt" --depth "$DEPTH" \
  --new-layers "$NEW_LAYERS" --seed "$SEED" --output "$OUT/extended.pt"
# shellcheck disable=SC2086
train post "$SOURCE_DATA" "$POST_UPDATES" $((POST_UPDATES / 10)) "$PRETRAIN_LR" \
  --task masked_lm --criterion joint_masked_lm --arch minimodel_roberta $MODEL \
  --encoder-layers $((DEPTH + NEW_LAYERS)) --freeze "bottom:$DEPTH" \
  --finetune-from-model "$OUT/extended.pt" "${MLM[@]}"

# Step 2: a language side for the target language, three times.
adapt() { # adapt NAME BASE UPDATES OPTIONS...
  local name=$1 base=$2 updates=$3
  shift 3
  train "$name" "$TARGET_DATA" "$updates" $((updates / 10)) "$ADAPT_LR" \
    --task language_adaptation --criterion joint_masked_lm --arch minimodel_roberta \
    --base-checkpoint "$base" --source-dict "$SOURCE_DATA/dict.txt" --initialise "$INITIALISE" \
    --save-interval-updates "$EVALUATE_EVERY" "${MLM[@]}" "$@"
}
adapt standard "$OUT/pretrained/checkpoint_last.pt" "$ADAPT_UPDATES"
adapt minijoint "$OUT/pretrained/checkpoint_last.pt" "$ADAPT_UPDATES" --depth "$DEPTH"
adapt minipost "$OUT/post/checkpoint_last.pt" "$ADAPT_UPDATES"
# The control: the same start, and no training.
adapt untrained "$OUT/pretrained/checkpoint_last.pt" 1 --lr 0 --weight-decay 0

# Step 3: fine-tune the whole model in the source language, language side frozen.
# shellcheck disable=SC2086
train finetuned "$TASK_DATA" "$FINETUNE_UPDATES" $((FINETUNE_UPDATES / 10)) "$FINETUNE_LR" \
  --task sentence_prediction --criterion sentence_prediction --num-classes "$CLASSES" \
  --init-token 0 --separator-token 2 --max-positions "$LENGTH" --shorten-method truncate \
  --arch minimodel_roberta $MODEL --encoder-layers "$LAYERS" \
  --freeze language --finetune-from-model "$OUT/pretrained/checkpoint_last.pt" --dropout 0.1 \
  --pooler-dropout 0.1 --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric

# Step 4: zero-shot scores, along the way and at the end.
for name in standard minijoint minipost; do
  run "pack-$name" fairseq-minimodel pack --language target --output "$OUT/packs/$name" \
    --checkpoint "$OUT/$name"/checkpoint_*_[0-9]*.pt
done
run pack-untrained fairseq-minimodel pack --checkpoint "$OUT/untrained/checkpoint_last.pt" \
  --language target --output "$OUT/packs/untrained"
run pack-source fairseq-minimodel pack --checkpoint "$OUT/pretrained/checkpoint_last.pt" \
  --language source --output "$OUT/packs/source"
tests=(--test "$OUT/packs/source" "$SOURCE_TEST" --test "$OUT/packs/untrained" "$TARGET_TEST")
for pack in "$OUT"/packs/{standard,minijoint,minipost}/*; do
  tests+=(--test "$pack" "$TARGET_TEST")
done
run evaluate fairseq-minimodel evaluate --body "$OUT/finetuned/checkpoint_best.pt" "${tests[@]}" \
  --text-columns "$TEXT_COLUMN" --label-column "$LABEL_COLUMN" --json "$OUT/scores.json"

# And whether a language side fits the full body: MLM loss of the full model in the target language.
for name in standard minijoint minipost untrained; do
  pack=$OUT/packs/$name
  if [ "$name" != untrained ]; then pack=$(ls -d "$pack"/* | sort -V | tail -n 1); fi
  run "plug-$name" fairseq-minimodel plug --body "$OUT/pretrained/checkpoint_last.pt" \
    --pack "$pack" --output "$OUT/plugged/$name"
  # shellcheck disable=SC2086
  run "validate-$name" fairseq-validate "$TARGET_DATA" --user-dir "$USER_DIR" $DEVICE \
    --path "$OUT/plugged/$name/model.pt" --task masked_lm --valid-subset valid \
    --tokens-per-sample "$LENGTH" --sample-break-mode "$BREAK_MODE" --batch-size "$BATCH" \
    --required-batch-size-multiple 1 --seed "$SEED" --num-workers 0 --log-format json
done

python "$(dirname "${BASH_SOURCE[0]}")/compare_variants.py" "$OUT"
