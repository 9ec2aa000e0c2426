#!/usr/bin/env bash
# Entities and parts of speech learnt in English by a real model, all-MiniLM-L6-v2, and tagged in other
# languages (docs/tagging.md): Universal NER and LinES in English; PUD, GDT, VTB, MasakhaNER and
# MasakhaPOS elsewhere. The languages start from 1,997 sentence pairs; the control from random rows.
#   DATA=FOLDER examples/tagging/run.sh            FOLDER as docs/results.md says
#   DATA=FOLDER examples/tagging/run.sh 'score*'   the steps of these names; --list shows all
#   SMOKE=1 DATA=... MODEL=... examples/tagging/run.sh     a few updates, to see that it runs
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
MODEL=${MODEL:-} # a folder in the form of Hugging Face; empty: downloaded
OUT=${OUT:-outputs/tagging} SEEDS=${SEEDS:-1 2 3} LANGUAGES=${LANGUAGES:-de el ar vi sw}
VOCABULARY=8000 LENGTH=128 BATCH=32 NER_UPDATES=250 POS_UPDATES=250 RATE=0.0003
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT%-smoke}-smoke VOCABULARY=300 NER_UPDATES=3 POS_UPDATES=3 BATCH=4
fi

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
# shellcheck source=examples/real_model/model.sh
source "$here/../real_model/model.sh"
keep_settings MODEL VOCABULARY LENGTH BATCH NER_UPDATES POS_UPDATES RATE
body=$OUT/minilm/body.pt english=$OUT/minilm/pack tagging=$DATA/tagging

get_model
run import fairseq-minimodel import-hf --model "$MODEL" --language en --output "$OUT/minilm"
sizes_of_model

# ---- what is learnt in English, with the language side frozen

COMMON=() SEED=1
prepare_tags() { # prepare_tags TASK TRAIN VALID
  run "data-$1" fairseq-minimodel prepare-tags --train "$2" --valid "$3" --max-length "$LENGTH" \
    --dict "$OUT/minilm/dict.txt" --sentencepiece-model "$OUT/minilm/tokenizer.json" \
    --output "$OUT/data/$1"
}
learn() { # learn TASK SEED UPDATES
  SEED=$2 train "$1:$2" "$OUT/data/$1" "$3" $(($3 / 10)) "$RATE" --task tagging --criterion tagging \
    "${SIZES[@]}" --encoder-layers 6 --max-positions 512 --freeze language --dropout 0.1 \
    --finetune-from-model "$body" --disable-validation --no-save-optimizer-state
}
prepare_tags ner "$tagging/ner/en_ewt-ud-dev.iob2.xz" "$tagging/ner/en_ewt-ud-test.iob2.xz"
prepare_tags pos "$tagging/pos/en_lines-ud-train.conllu.xz" "$tagging/pos/en_lines-ud-dev.conllu.xz"
for seed in $SEEDS; do learn ner "$seed" "$NER_UPDATES"; done
for seed in $SEEDS; do learn pos "$seed" "$POS_UPDATES"; done

# ---- languages: a start without an update, and the control

for language in $LANGUAGES; do
  mapfile -t files < <(text_of "$language")
  run "prepare:$language" fairseq-minimodel prepare --text "${files[@]}" --output "$OUT/data/$language" \
    --vocabulary-size "$VOCABULARY" --case fold --document-per-line --sequence-length "$LENGTH"
  start=(fairseq-minimodel start --body "$body" --data "$OUT/data/$language" --language "$language")
  ntrex=$DATA/parallel/ntrex/newstest2019
  run "start-pairs:$language" "${start[@]}" --initialise aligned --output "$OUT/packs/pairs/$language" \
    --parallel "$ntrex-src.eng.txt.xz" "$ntrex-ref.${THREE[$language]}.txt.xz"
  run "start-random:$language" "${start[@]}" --initialise random --output "$OUT/packs/random/$language"
done

# ---- scores

test_of() { # test_of TASK LANGUAGE: its file, if there is one
  local file
  for file in "$tagging/$1/$2"_*-test.*; do
    if [ -e "$file" ]; then echo "$file"; fi
  done
}
score() { # score TASK SEED: Masakhane's dates, which the English data do not have, are read as outside
  local language start file tests options=()
  file=$(test_of "$1" en)
  tests=(--test "$english" "$file")
  for language in $LANGUAGES; do
    file=$(test_of "$1" "$language")
    for start in pairs random; do
      if [ -n "$file" ]; then tests+=(--test "$OUT/packs/$start/$language" "$file"); fi
    done
  done
  if [ "$1" = ner ]; then options=(--unknown-tags outside); fi
  fairseq-minimodel evaluate --body "$OUT/$1:$2/checkpoint_last.pt" "${tests[@]}" "${options[@]}" \
    --json "$OUT/scores/$1:$2.json"
}
for task in ner pos; do
  for seed in $SEEDS; do run "score-$task:$seed" score "$task" "$seed"; done
done
show table python "$here/table.py" "$OUT"
end
