# A recipe: from raw text and the files of benchmarks to tables of zero-shot scores. Sourced at the end
# of the run.sh of an example, which sets the variables below and defines task_NAME for each of $TASKS.
#
#   OUT TEXT DATA             folders of all results, of raw text, of the benchmarks' files
#   SOURCE LANGUAGES          source language, target languages
#   VARIANTS                  of standard, minijoint, minipost, untrained (a control: no updates)
#   STANDARD_BODY             what standard and minipost are built on: plain, or joint (one
#                             pretraining less, with a second head that they do not use)
#   SEEDS                     of adaptation and fine-tuning; pretraining has seed 1
#   LAYERS DEPTH NEW_LAYERS   layers of the model, of the mini-model; those that MiniPost adds
#   SIZES LENGTH              other sizes of the model (hydra's overrides); its positions
#   SEQUENCES BATCH           sequences per update; sequences per process at once
#   PROCESSES LAUNCH          processes (one per GPU), and the command that starts a program in all
#   PRECISION                 fp16, bf16 or fp32
#   VOCABULARY                options of `fairseq-minimodel prepare`
#   SETS                      of examples/download.sh, or generated
#   TRAINING                  what to change in the configs in examples/hydra (hydra's overrides),
#   PRETRAIN POST ADAPT       and for one kind of training
#   WINDOWS                   options of `prepare-questions`
#   TASKS                     names; task_NAME sets KIND (classification, questions), CONFIG (name of
#                             a hydra config), EXAMPLES (an update), FINETUNE (overrides), TRAIN, VALID
#                             and TEST (name of a benchmark, its path, split), TESTED (languages, if
#                             not all) and COLUMNS_OF_TEXT (text, for single sentences)

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=examples/steps.sh
source "$examples/steps.sh"

PROCESSES=${PROCESSES:-$((GPUS > 0 ? GPUS : 1))} PRECISION=${PRECISION:-fp16}
LAUNCH=${LAUNCH:-torchrun --standalone --nproc-per-node=$PROCESSES}
keep_settings SOURCE STANDARD_BODY LAYERS DEPTH NEW_LAYERS SIZES LENGTH SEQUENCES VOCABULARY \
  TRAINING PRETRAIN POST ADAPT WINDOWS

bodies() {
  for variant in $VARIANTS; do body_of "$variant"; done | sort -u
}

body_of() { # the primary model that a variant is plugged into
  if [ "$1" = minijoint ]; then echo joint; else echo "$STANDARD_BODY"; fi
}

before() { # the step that makes what a variant's language sides are trained over
  if [ "$1" = minipost ]; then echo post; else echo "pretrain:$(body_of "$1")"; fi
}

adaptations() { # adaptations SEED VARIANT: the steps that make its packs
  for language in $LANGUAGES; do echo "adapt:$1:$2:$language"; done
}

# ---- data

download() {
  if [ "$SETS" = generated ]; then
    python "$examples/generated.py" "$OUT"
  else # shellcheck disable=SC2086
    "$examples/download.sh" $SETS "$DATA"
  fi
}

declare -F text_of >/dev/null || text_of() { # the files of a language
  local found=("$TEXT/$1".txt* "$TEXT/$1"-*.txt* "$TEXT/$1"/*)
  local file files=()
  for file in "${found[@]}"; do if [ -e "$file" ]; then files+=("$file"); fi; done
  if [ "${#files[@]}" = 0 ]; then
    echo "no text of the language $1: put $1.txt, perhaps compressed, into $TEXT" >&2
    exit 2
  fi
  printf '%s\n' "${files[@]}"
}

prepare() { # prepare LANGUAGE; text that was prepared shard by shard is there already
  local files
  if [ -e "$OUT/data/$1" ]; then return; fi
  mapfile -t files < <(text_of "$1")
  [ "${#files[@]}" -gt 0 ] || exit 2
  fairseq-minimodel prepare --output "$OUT/data/$1" --sequence-length "$LENGTH" "${VOCABULARY[@]}" \
    --text "${files[@]}"
}

data_of() { # the data of a language for fairseq: a folder, or its shards with colons between
  if [ -e "$OUT/data/$1/train.idx" ]; then echo "$OUT/data/$1"; return; fi
  local shards=("$OUT/data/$1"/*/train.idx)
  shards=("${shards[@]%/train.idx}")
  (IFS=:; echo "${shards[*]}")
}

task() { # what an example says of a task
  KIND='' CONFIG='' FINETUNE=() TRAIN=() VALID=() TEST=() TESTED='' COLUMNS_OF_TEXT=(text1 text2)
  "task_$1"
}

prepare_task() { # prepare_task TASK: labelled data in the source language
  task "$1"
  local split data files=()
  data=$(data_of "$SOURCE")
  if [ "$KIND" = questions ]; then
    files=(--train "${TRAIN[1]}" --valid "${VALID[1]}" "${WINDOWS[@]}")
  else
    for split in train valid; do
      local -n part=${split^^}
      fairseq-minimodel export-benchmark --benchmark "${part[0]}" --data "${part[1]}" \
        --split "${part[2]}" --language "$SOURCE" --output "$OUT/data/$1-$split.jsonl"
      files+=("--$split" "$OUT/data/$1-$split.jsonl")
    done
    files+=(--text-columns "${COLUMNS_OF_TEXT[@]}" --label-column label)
  fi
  fairseq-minimodel "prepare-$KIND" --output "$OUT/data/$1" "${files[@]}" \
    --dict "${data%%:*}/dict.txt" --sentencepiece-model "${data%%:*}/sentencepiece.bpe.model"
}

# ---- training: fairseq-hydra-train with a config of examples/hydra and what is to be changed

quoted() { # a path as a value of hydra, in which blanks, commas and brackets are letters
  echo "'${1//\'/\\\'}'"
}

hydra_train() { # hydra_train CONFIG SAVE_DIR SEQUENCES_PER_UPDATE SEQUENCES_AT_ONCE OVERRIDES...
  local config=$1 save_dir=$2 update=$3 batch=$4 program
  shift 4
  if ((batch * PROCESSES > update)); then batch=$((update / PROCESSES)); fi
  if ((batch == 0 || update % (batch * PROCESSES) != 0)); then
    echo "$update sequences per update are not a multiple of $batch at once in $PROCESSES processes:" \
      "set BATCH or PROCESSES" >&2
    exit 2
  fi
  program=$(command -v fairseq-hydra-train)
  local command=("$program") distributed=()
  if ((PROCESSES > 1)); then # shellcheck disable=SC2206
    command=($LAUNCH "$program")
    distributed=('distributed_training.distributed_init_method=env://'
      distributed_training.distributed_no_spawn=true
      distributed_training.distributed_world_size='${oc.env:WORLD_SIZE}'
      distributed_training.distributed_rank='${oc.env:RANK}'
      distributed_training.device_id='${oc.env:LOCAL_RANK}')
    if [ "$GPUS" = 0 ]; then distributed+=(distributed_training.distributed_backend=gloo); fi
  fi
  "${command[@]}" --config-dir "$examples/hydra" --config-name "$config" \
    common.user_dir="$(quoted "$USER_DIR")" \
    checkpoint.save_dir="$(quoted "$save_dir")" \
    common.fp16="$([ "$PRECISION" = fp16 ] && echo true || echo false)" \
    common.bf16="$([ "$PRECISION" = bf16 ] && echo true || echo false)" \
    common.cpu="$([ "$GPUS" = 0 ] && echo true || echo false)" \
    dataset.batch_size="$batch" "optimization.update_freq=[$((update / batch / PROCESSES))]" \
    "${distributed[@]}" "$@" "${TRAINING[@]}"
}

pretrain() { # pretrain plain|joint
  local heads='""'
  if [ "$1" = joint ]; then heads="'$DEPTH'"; fi
  hydra_train pretrain "$OUT/$1" "$SEQUENCES" "$BATCH" task.data="$(quoted "$(data_of "$SOURCE")")" \
    model.auxiliary_head_layers="$heads" +model.encoder_layers="$LAYERS" "${SIZES[@]}" \
    task.tokens_per_sample="$LENGTH" "${PRETRAIN[@]}"
}

post() {
  fairseq-minimodel extend --body "$OUT/$STANDARD_BODY/checkpoint_last.pt" --depth "$DEPTH" \
    --new-layers "$NEW_LAYERS" --output "$OUT/extended.pt"
  hydra_train pretrain "$OUT/post" "$SEQUENCES" "$BATCH" task.data="$(quoted "$(data_of "$SOURCE")")" \
    "${SIZES[@]}" "${PRETRAIN[@]}" "${POST[@]}" model.auxiliary_head_layers='""' \
    +model.encoder_layers="$((DEPTH + NEW_LAYERS))" +model.freeze="bottom:$DEPTH" \
    task.tokens_per_sample="$LENGTH" \
    checkpoint.finetune_from_model="$(quoted "$OUT/extended.pt")"
}

adapt() { # adapt SEED VARIANT LANGUAGE
  local seed=$1 variant=$2 language=$3 data base source overrides=()
  data=$(data_of "$language") base=$OUT/$(body_of "$variant")
  local folder=$OUT/seed$seed/adapted/$variant-$language
  case $variant in
    standard) overrides=(task.depth=null) ;;
    minijoint) overrides=(task.depth="$DEPTH") ;;
    minipost) base=$OUT/post overrides=(task.depth=null) ;;
    untrained) overrides=(task.depth=null optimization.max_update=1 'optimization.lr=[0]'
      optimizer.weight_decay=0) ;;
  esac
  source=$(data_of "$SOURCE")
  hydra_train adapt "$folder" "$SEQUENCES" "$BATCH" common.seed="$seed" \
    task.data="$(quoted "$data")" \
    task.base_checkpoint="$(quoted "$base/checkpoint_last.pt")" \
    +task.source_dict="$(quoted "${source%%:*}/dict.txt")" \
    task.tokens_per_sample="$LENGTH" "${ADAPT[@]}" "${overrides[@]}"
  fairseq-minimodel pack --checkpoint "$folder/checkpoint_last.pt" --language "$language" \
    --output "$OUT/seed$seed/packs/$variant/$language"
}

finetune() { # finetune SEED TASK BODY
  task "$2"
  hydra_train "$CONFIG" "$OUT/seed$1/finetuned/$2-$3" "$EXAMPLES" "$EXAMPLES" common.seed="$1" \
    task.data="$(quoted "$OUT/data/$2")" \
    checkpoint.finetune_from_model="$(quoted "$OUT/$3/checkpoint_last.pt")" \
    +model.encoder_layers="$LAYERS" "${SIZES[@]}" task.max_positions="$LENGTH" "${FINETUNE[@]}"
}

evaluate() { # evaluate SEED TASK VARIANT: the table of one variant
  task "$2"
  local packs=$OUT/seed$1/packs/$3 body
  body=$(body_of "$3")
  if [ ! -e "$packs/$SOURCE" ]; then
    fairseq-minimodel pack --checkpoint "$OUT/$body/checkpoint_last.pt" --language "$SOURCE" \
      --output "$packs/$SOURCE"
  fi
  mkdir -p "$OUT/seed$1/scores"
  # shellcheck disable=SC2086
  fairseq-minimodel evaluate --body "$OUT/seed$1/finetuned/$2-$body/checkpoint_best.pt" \
    --benchmark "${TEST[0]}" --data "${TEST[1]}" --split "${TEST[2]}" --packs "$packs" \
    --languages ${TESTED:-$SOURCE $LANGUAGES} "${WINDOWS[@]}" \
    --json "$OUT/seed$1/scores/$2-$3.json"
}

# ---- all of it

if [ -n "$SETS" ]; then NEEDS=network run download download; fi
for language in $SOURCE $LANGUAGES; do
  AFTER=${SETS:+download} run "prepare:$language" prepare "$language"
done
for body in $(bodies); do
  NEEDS=gpu AFTER=prepare:$SOURCE run "pretrain:$body" pretrain "$body"
done
if [[ " $VARIANTS " == *" minipost "* ]]; then
  NEEDS=gpu AFTER=pretrain:$STANDARD_BODY run post post
fi
for task in "${TASKS[@]}"; do
  AFTER=prepare:$SOURCE run "task:$task" prepare_task "$task"
done
evaluated=''
for seed in $SEEDS; do
  for variant in $VARIANTS; do
    for language in $LANGUAGES; do
      NEEDS=gpu AFTER="prepare:$language $(before "$variant")" \
        run "adapt:$seed:$variant:$language" adapt "$seed" "$variant" "$language"
    done
  done
  for task in "${TASKS[@]}"; do
    for body in $(bodies); do
      NEEDS=gpu AFTER="task:$task pretrain:$body" \
        run "finetune:$seed:$task:$body" finetune "$seed" "$task" "$body"
    done
    for variant in $VARIANTS; do
      evaluated+=" evaluate:$seed:$task:$variant"
      NEEDS=gpu AFTER="finetune:$seed:$task:$(body_of "$variant") $(adaptations "$seed" "$variant")" \
        run "evaluate:$seed:$task:$variant" evaluate "$seed" "$task" "$variant"
    done
  done
done
if declare -F more_steps >/dev/null; then more_steps; fi # what an example adds
AFTER=$evaluated show table python "$examples/zero_shot_table.py" "$OUT"
end
