#!/usr/bin/env bash
# Sentence vectors of all-MiniLM-L6-v2 in new languages (docs/sentence_vectors.md): from several numbers
# of pairs and from a word list, over three seeds; scored by retrieval (Tatoeba) and topics (SIB-200).
#   DATA=FOLDER examples/sentence_vectors/run.sh        FOLDER as docs/results.md says
#   DATA=FOLDER examples/sentence_vectors/run.sh '*:sw'    the steps of these names; --list shows all
#   SMOKE=1 DATA=... MODEL=... examples/sentence_vectors/run.sh     a few updates, to see that it runs
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
MODEL=${MODEL:-} # a folder of sentence-transformers; empty: downloaded
OUT=${OUT:-outputs/sentence_vectors} LANGUAGES=${LANGUAGES:-de el sw tr vi ar} SEEDS=${SEEDS:-1 2 3}
PAIRS=${PAIRS:-500 2000 10000 30000} # as many of them as a language has
VOCABULARY=8000 BATCH=64 EPOCHS=3 RATE=0.003 CONTRASTIVE=1
if [ -n "${SMOKE:-}" ]; then OUT=${OUT%-smoke}-smoke VOCABULARY=300 BATCH=8 EPOCHS=1 PAIRS=40; fi

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
# shellcheck source=examples/real_model/model.sh
source "$here/../real_model/model.sh"
keep_settings MODEL PAIRS VOCABULARY BATCH EPOCHS RATE CONTRASTIVE
body=$OUT/model/body.pt english=$OUT/model/pack

get_model
run import fairseq-minimodel import-hf --model "$MODEL" --language en --output "$OUT/model"

pairs_of() { # pairs_of LANGUAGE: all its pairs, in a random order that is always the same
  local ntrex=$DATA/parallel/ntrex/newstest2019 files=()
  files+=("$ntrex-src.eng.txt.xz" "$ntrex-ref.${THREE[$1]}.txt.xz")
  case $1 in
    sw) files+=("$DATA"/parallel/en-sw-globalvoices/train.{en,swa}.xz) ;;
    de) files+=("$DATA"/parallel/multi30k/train.{en,de}.xz) ;;
  esac
  python "$here/pairs.py" "$OUT/pairs/$1" "${files[@]}"
}
first_pairs() { # first_pairs LANGUAGE COUNT
  local side
  for side in source target; do
    head -n "$2" "$OUT/pairs/$1/all.$side" >"$OUT/pairs/$1/$2.$side"
  done
}
start() { # start NAME LANGUAGE OPTIONS...: a language side without an update, and the body with it
  fairseq-minimodel start --body "$body" --data "$OUT/data/$2" --language "$2" --initialise aligned \
    --output "$OUT/packs/$2/start-$1" "${@:3}"
}
distil() { # distil COUNT SEED LANGUAGE
  local name=$1:$2:$3 pairs=$OUT/pairs/$3/$1 count=0 updates
  if [ -e "$pairs.source" ]; then count=$(wc -l <"$pairs.source"); fi # else only listed
  updates=$((EPOCHS * count / BATCH))
  SEED=$2 train "$name" "$OUT/data/$3" "$updates" $((updates / 10)) "$RATE" \
    --task sentence_distillation --criterion sentence_distillation --weight-decay 0 \
    --contrastive-weight "$CONTRASTIVE" --base-checkpoint "$OUT/started/$3/$1/model.pt" \
    --source-pack "$english" --initialise overlap --pairs "$pairs.source" "$pairs.target" \
    --dropout 0 --attention-dropout 0 --body-precision bfloat16 --disable-validation \
    --no-save-optimizer-state
  run "pack-$name" fairseq-minimodel pack --checkpoint "$OUT/$name/checkpoint_last.pt" \
    --language "$3" --output "$OUT/packs/$3/$1-seed$2"
}
retrieve() { # retrieve LANGUAGE
  local pack packs=()
  for pack in "$OUT/packs/$1"/*; do packs+=(--pack "$pack"); done
  fairseq-minimodel retrieve --body "$body" --source-pack "$english" "${packs[@]}" \
    --data "$DATA/parallel/tatoeba" --json "$OUT/scores/tatoeba:$1.json"
}

for language in $LANGUAGES; do
  mapfile -t files < <(text_of "$language")
  run "prepare:$language" fairseq-minimodel prepare --text "${files[@]}" --body "$body" \
    --output "$OUT/data/$language" --vocabulary-size "$VOCABULARY" --document-per-line \
    --sequence-length 128
  run "pairs:$language" pairs_of "$language"
  words=$DATA/parallel/freedict/en-$language.tsv.xz
  if [ -e "$words" ]; then
    run "start-words:$language" start words "$language" --dictionary "$words"
  fi
  for count in $PAIRS; do
    if [ -e "$OUT/pairs/$language/all.source" ] &&
      [ "$(wc -l <"$OUT/pairs/$language/all.source")" -lt $((count / 2)) ]; then
      continue # the number before it was all there is
    fi
    pairs=$OUT/pairs/$language/$count
    run "pairs-$count:$language" first_pairs "$language" "$count"
    run "start-$count:$language" start "$count" "$language" --parallel "$pairs".{source,target}
    run "plug-$count:$language" fairseq-minimodel plug --body "$body" \
      --pack "$OUT/packs/$language/start-$count" --output "$OUT/started/$language/$count"
    for seed in $SEEDS; do distil "$count" "$seed" "$language"; done
  done
  run "retrieve:$language" retrieve "$language"
  run "topics:$language" python "$here/topics.py" "$body" "$english" "$DATA/topic/sib200" \
    "$language" "$OUT/scores/topics:$language.json" "$OUT/packs/$language"/*
  show "table:$language" tail -n 100 "$OUT/logs/retrieve:$language.log" "$OUT/logs/topics:$language.log"
done
end
