#!/usr/bin/env bash
# Sentence vectors of all-MiniLM-L6-v2 in new languages (docs/sentence_vectors.md): from several numbers
# of pairs and from a word list, over three seeds; scored by retrieval (Tatoeba), topics (SIB-200) and,
# where STS names a folder of similarity.py, similarity.
#   DATA=FOLDER examples/sentence_vectors/run.sh        FOLDER as docs/results.md says
#   DATA=FOLDER examples/sentence_vectors/run.sh '*:sw'    the steps of these names; --list shows all
#   SMOKE=1 DATA=... MODEL=... examples/sentence_vectors/run.sh     a few updates, to see that it runs
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
MODEL=${MODEL:-} # a folder of sentence-transformers; empty: downloaded
OUT=${OUT:-outputs/sentence_vectors} LANGUAGES=${LANGUAGES:-de el sw tr vi ar} SEEDS=${SEEDS:-1 2 3}
PAIRS=${PAIRS:-500 2000 10000 30000} # as many of them as a language has
NTREX=${NTREX:-train} # among the pairs; test: left out and scored, in languages with others (sw, de)
STS=${STS:-} # a folder of similarity.py; empty: similarity is not scored
VOCABULARY=8000 BATCH=64 EPOCHS=3 RATE=0.003 CONTRASTIVE=1
SENTENCES=10000 # of English, translated word by word where there is a word list
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT%-smoke}-smoke VOCABULARY=300 BATCH=8 EPOCHS=1 PAIRS=40 SENTENCES=40
fi

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
# shellcheck source=examples/real_model/model.sh
source "$here/../real_model/model.sh"
keep_settings MODEL PAIRS NTREX SENTENCES VOCABULARY BATCH EPOCHS RATE CONTRASTIVE
body=$OUT/model/body.pt english=$OUT/model/pack

get_model
run import fairseq-minimodel import-hf --model "$MODEL" --language en --output "$OUT/model"

ntrex() { # ntrex LANGUAGE: the array FILES, English and the language
  FILES=("$DATA/parallel/ntrex/newstest2019-"{src.eng,"ref.${THREE[$1]}"}.txt.xz)
}
pairs_of() { # pairs_of LANGUAGE: all its pairs, in a random order that is always the same
  FILES=()
  if [ "$NTREX" = train ]; then ntrex "$1"; fi
  case $1 in
    sw) FILES+=("$DATA"/parallel/en-sw-globalvoices/train.{en,swa}.xz) ;;
    de) FILES+=("$DATA"/parallel/multi30k/train.{en,de}.xz) ;;
  esac
  if [ ${#FILES[@]} = 0 ]; then
    echo "$1 has no pairs but those of NTREX: give NTREX=train, or LANGUAGES without it"
    return 1
  fi
  python "$here/pairs.py" "$OUT/pairs/$1" "${FILES[@]}"
}
first_pairs() { # first_pairs LANGUAGE COUNT
  local side
  for side in source target; do
    head -n "$2" "$OUT/pairs/$1/all.$side" >"$OUT/pairs/$1/$2.$side"
  done
}
word_pairs() { # word_pairs LANGUAGE
  translate_words "$1" "$OUT/sentences/$1" --sentences "$SENTENCES"
  cp "$OUT/sentences/$1/sentences.source" "$OUT/pairs/$1/words.source"
  cp "$OUT/sentences/$1/sentences.target" "$OUT/pairs/$1/words.target"
}
start() { # start NAME LANGUAGE OPTIONS...: a language side without an update, and the body with it
  fairseq-minimodel start --body "$body" --data "$OUT/data/$2" --language "$2" --initialise aligned \
    --output "$OUT/packs/$2/start-$1" "${@:3}"
}
distil() { # distil NAME SEED LANGUAGE
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
learn() { # learn NAME LANGUAGE OPTIONS...: the start from these pairs, and of each seed what is trained
  run "start-$1:$2" start "$@"
  run "plug-$1:$2" fairseq-minimodel plug --body "$body" --pack "$OUT/packs/$2/start-$1" \
    --output "$OUT/started/$2/$1"
  for seed in $SEEDS; do distil "$1" "$seed" "$2"; done
}
retrieve() { # retrieve LANGUAGE NAME OPTIONS...: of all its packs on the data of this name
  local pack packs=()
  for pack in "$OUT/packs/$1"/*; do packs+=(--pack "$pack"); done
  fairseq-minimodel retrieve --body "$body" --source-pack "$english" "${packs[@]}" \
    --bf16 --json "$OUT/scores/$2:$1.json" "${@:3}"
}
sib200() { # sib200 LANGUAGE SPLIT
  fairseq-minimodel export-benchmark --benchmark sib200 --data "$DATA/topic/sib200" \
    --language "$1" --split "$2" --output "$OUT/topics/$1-$2.jsonl"
}
topics() { # topics LANGUAGE: the same sentences are in all languages, so that only those of dev are scored
  local pack tests=(--test "$english" "$OUT/topics/en-dev.jsonl")
  for pack in "$OUT/packs/$1"/*; do tests+=(--test "$pack" "$OUT/topics/$1-dev.jsonl"); done
  sib200 en train
  sib200 en dev
  sib200 "$1" dev
  fairseq-minimodel evaluate --body "$body" --centroids "$english" "$OUT/topics/en-train.jsonl" \
    "${tests[@]}" --bf16 --json "$OUT/scores/topics:$1.json"
}
similarity() { # similarity LANGUAGE: of pairs of sentences
  local pack tests=()
  if [ -e "$STS/en.jsonl" ]; then tests=(--test "$english" "$STS/en.jsonl"); fi
  for pack in "$OUT/packs/$1"/*; do tests+=(--test "$pack" "$STS/$1.jsonl"); done
  fairseq-minimodel evaluate --body "$body" "${tests[@]}" --text-columns text1 text2 \
    --label-column score --bf16 --json "$OUT/scores/similarity:$1.json"
}

for language in $LANGUAGES; do
  mapfile -t files < <(text_of "$language")
  run "prepare:$language" fairseq-minimodel prepare --text "${files[@]}" --body "$body" \
    --output "$OUT/data/$language" --vocabulary-size "$VOCABULARY" --document-per-line \
    --sequence-length 128
  run "pairs:$language" pairs_of "$language"
  words=$DATA/parallel/freedict/en-$language.tsv.xz
  if [ -e "$words" ]; then
    run "pairs-words:$language" word_pairs "$language"
    learn words "$language" --dictionary "$words" --parallel "$OUT/pairs/$language/words".{source,target}
  fi
  for count in $PAIRS; do
    if [ -e "$OUT/pairs/$language/all.source" ] &&
      [ "$(wc -l <"$OUT/pairs/$language/all.source")" -lt $((count / 2)) ]; then
      continue # the number before it was all there is
    fi
    pairs=$OUT/pairs/$language/$count
    run "pairs-$count:$language" first_pairs "$language" "$count"
    learn "$count" "$language" --parallel "$pairs".{source,target}
  done
  run "retrieve:$language" retrieve "$language" tatoeba --data "$DATA/parallel/tatoeba"
  if [ "$NTREX" = test ]; then
    ntrex "$language"
    run "ntrex:$language" retrieve "$language" ntrex --parallel "${FILES[@]}"
  fi
  run "topics:$language" topics "$language"
  if [ -n "$STS" ] && [ -e "$STS/$language.jsonl" ]; then
    run "similarity:$language" similarity "$language"
  fi
  show "table:$language" tail -n 100 "$OUT/logs/retrieve:$language.log" "$OUT/logs/topics:$language.log"
done
end
