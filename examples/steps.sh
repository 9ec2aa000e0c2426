# A script as a row of steps: sourced by the others. $OUT is the folder of all results.
#
#   SCRIPT          every step in order; a step that is done is not done again
#   SCRIPT STEP     one of them; a pattern: all that match it ("adapt:*")
#   SCRIPT --list   the steps: name, what it needs (cpu, gpu or network), the steps before it
#
# A step is a line `run NAME COMMAND...` or `show NAME COMMAND...`. Before it, NEEDS=gpu and
# AFTER="NAME..." are what --list shows. The last line is `end`.

ONLY=${1:-} FOUND=''
USER_DIR=$(fairseq-minimodel user-dir)
GPUS=$(python -c 'import torch; print(torch.cuda.device_count())') DEVICE=()
if [ "$GPUS" = 0 ]; then DEVICE=(--cpu); fi
TOGETHER=${TOGETHER:-} # not empty: others write to the same terminal, so that a step is a line at its end
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two spinning pools on busy cores are slower than one

wanted() { # wanted NAME: whether this call of the script is to do it
  if [ "$ONLY" = --list ]; then # shellcheck disable=SC2086
    echo "$1" ${NEEDS:-cpu} ${AFTER:-}
    return 1
  fi
  # shellcheck disable=SC2053 # it may be a pattern
  if [ -n "$ONLY" ] && [[ $1 != $ONLY ]]; then return 1; fi
  FOUND=yes
}

run() { # run NAME COMMAND...: once; what it prints goes to $OUT/logs/NAME.log
  local name=$1 started=$SECONDS status line
  shift
  if ! wanted "$name" || [ -e "$OUT/logs/$name.done" ]; then return; fi
  mkdir -p "$OUT/logs"
  line=$(printf '%-34s' "$name")
  if [ -z "$TOGETHER" ]; then
    echo -n "$line"
    line=''
  fi
  set +e # not `if !`: in a condition bash does not stop a function at its first failure
  (
    set -e
    "$@"
  ) >>"$OUT/logs/$name.log" 2>&1
  status=$?
  set -e
  if [ "$status" != 0 ]; then
    echo "${line}failed:"
    tail -n 15 "$OUT/logs/$name.log"
    exit "$status"
  fi
  touch "$OUT/logs/$name.done"
  echo "$line$((SECONDS - started)) s"
}

show() { # show NAME COMMAND...: each time, and what it prints is seen
  if wanted "$1"; then "${@:2}"; fi
}

end() {
  if [ -n "$ONLY" ] && [ "$ONLY" != --list ] && [ -z "$FOUND" ]; then
    echo "there is no step $ONLY: $0 --list shows all" >&2
    exit 2
  fi
}

# keep_settings NAME...: results of other settings are not mixed: what these variables say must be
# what $OUT was made with.
keep_settings() {
  if [ "$ONLY" = --list ]; then return; fi
  local name settings
  settings=$(for name in "$@"; do
    local -n value=$name
    echo "$name=${value[*]}"
  done)
  mkdir -p "$OUT"
  if [ -e "$OUT/settings.txt" ] && [ "$settings" != "$(cat "$OUT/settings.txt")" ]; then
    echo "$OUT holds results of other settings (settings.txt): remove it, or give OUT=FOLDER" >&2
    exit 2
  fi
  if [ ! -e "$OUT/settings.txt" ]; then # in one move: several jobs may begin at once
    echo "$settings" >"$OUT/settings.txt.$$"
    mv "$OUT/settings.txt.$$" "$OUT/settings.txt"
  fi
}

# train NAME DATA UPDATES WARM_UP LR OPTIONS...: a step, fairseq-train into $OUT/NAME, with batches of
# $BATCH, $SEED and what the array COMMON has for all trainings of a script.
train() {
  local name=$1 data=$2 updates=$3 warm_up=$4 rate=$5
  shift 5
  NEEDS=gpu run "$name" fairseq-train "$data" --save-dir "$OUT/$name" "${DEVICE[@]}" \
    --user-dir "$USER_DIR" --arch minimodel_roberta \
    --optimizer fused_adam --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --weight-decay 0.01 \
    --lr "$rate" --lr-scheduler polynomial_decay --warmup-updates "$warm_up" \
    --total-num-update "$updates" --max-update "$updates" --batch-size "$BATCH" --seed "$SEED" \
    --required-batch-size-multiple 1 --num-workers 0 --log-format json --log-interval 10 \
    --no-epoch-checkpoints "${COMMON[@]}" "$@"
}
