#!/usr/bin/env bash
# How much text, and how many translations, a new language needs (docs/choosing.md): all-MiniLM-L6-v2
# in Swahili from no translations, a word list, 10,000 English sentences that it translates word by word,
# and 500 to 30,000 sentence pairs, with MLM training (MiniPost) on several amounts of text, over three
# seeds; and longer training in German and Vietnamese, from all their pairs, and in Turkish, from a word
# list.
# Goes on from the results of examples/real_model/run.sh in the folder REAL: 'import', 'head:*',
# 'sib200*' and 'prepare:*' are the steps that it needs.
#   DATA=FOLDER examples/how_much_text/run.sh           FOLDER as docs/results.md says
#   DATA=FOLDER examples/how_much_text/run.sh 'start*'  the steps of these names; --list shows all
#   SMOKE=1 DATA=... REAL=... examples/how_much_text/run.sh     a few updates, to see that it runs
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
REAL=${REAL:-outputs/real_model} OUT=${OUT:-outputs/how_much_text} SEEDS=${SEEDS:-1 2 3}
PAIRS=(500 2000 10000 30000) TOKENS=(10000 100000 1000000) UPDATES=300 # Swahili has 0.9 M tokens
LONG=${LONG-de:all vi:all tr:words} LONG_UPDATES=1800 LONG_POINTS=6     # language and start
declare -A LONG_TOKENS=([de]="100000 1000000 4000000" [vi]=4000000 [tr]=4000000) # vi has 3.1 M, tr 0.8
LENGTH=128 BATCH=16 RATE=0.001
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT%-smoke}-smoke PAIRS=(20 40) TOKENS=(500 1000) UPDATES=4 LONG_UPDATES=4 LONG_POINTS=2
  LONG_TOKENS=([de]="500 1000" [vi]=500 [tr]=500)
fi
body=$REAL/minilm/body.pt english=$REAL/minilm/pack
ntrex=$DATA/parallel/ntrex/newstest2019

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
# shellcheck source=examples/real_model/model.sh
source "$here/../real_model/model.sh"
keep_settings PAIRS TOKENS UPDATES LONG_TOKENS LONG_UPDATES LENGTH BATCH RATE
COMMON=()

translations() { # translations START SEED LANGUAGE: options of the start
  case $1 in
    focus) printf '%s\n' --initialise focus ;;
    words) printf '%s\n' --initialise aligned --dictionary "$DATA/parallel/freedict/en-$3.tsv.xz" ;;
    sentences) printf '%s\n' --initialise aligned --dictionary "$DATA/parallel/freedict/en-$3.tsv.xz" \
      --parallel "$OUT/sentences/$3/$2"/sentences.{source,target} ;;
    all) printf '%s\n' --initialise aligned --parallel "$REAL/pairs/xquad-$3".{en,"$3"} \
      --parallel "$ntrex-src.eng.txt.xz" "$ntrex-ref.${THREE[$3]}.txt.xz" ;;
    *) printf '%s\n' --initialise aligned --parallel "$OUT/pairs/$2/$1".{source,target} ;;
  esac
}
start() { # start LANGUAGE START SEED: a language side without an update
  local options
  mapfile -t options < <(translations "$2" "$3" "$1")
  run "start-$2:$3:$1" fairseq-minimodel start --body "$body" --data "$REAL/data/$1" --language "$1" \
    --output "$OUT/packs/$1/$2/0/$3/0" "${options[@]}"
}
adapt() { # adapt LANGUAGE START TOKENS SEED UPDATES POINTS
  local name=$2:$3:$4:$1 options
  mapfile -t options < <(translations "$2" "$4" "$1")
  SEED=$4 train "$name" "$OUT/data/$1/$4/$3" "$5" $(($5 / 10)) "$RATE" --task language_adaptation \
    --criterion joint_masked_lm --tokens-per-sample "$LENGTH" --sample-break-mode none \
    --dropout 0 --attention-dropout 0 --body-precision bfloat16 \
    --base-checkpoint "$REAL/head:minipost/checkpoint_last.pt" --source-dict "$REAL/minilm/dict.txt" \
    --save-interval-updates $(($5 / $6)) --disable-validation "${options[@]}"
  run "pack-$name" pack_all "$OUT/$name" "$1" "$5" "$OUT/packs/$1/$2/$3/$4"
}
pack_all() { # pack_all FOLDER LANGUAGE UPDATES OUTPUT: of all its checkpoints, which are then not needed
  local file updates
  for file in "$1"/checkpoint_*.pt; do
    updates=${file##*_} updates=${updates%.pt}
    if [ "$updates" = last ]; then updates=$3; fi # at the end of an epoch there is no other
    if [ ! -e "$4/$updates" ]; then
      fairseq-minimodel pack --checkpoint "$file" --language "$2" --output "$4/$updates"
    fi
  done
  rm "$1"/checkpoint_*.pt
}
prepare() { # prepare LANGUAGE SEED TOKENS...: that many tokens of its text, chosen by the seed
  local tokens files
  mapfile -t files < <(text_of "$1")
  python "$here/amounts.py" text "$OUT/text/$1/$2" --seed "$2" --files "${files[@]}" \
    --sentencepiece-model "$REAL/data/$1/sentencepiece.bpe.model" --amounts "${@:3}"
  for tokens in "${@:3}"; do
    fairseq-minimodel prepare --text "$OUT/text/$1/$2/$tokens.jsonl" --output "$OUT/data/$1/$2/$tokens" \
      --dict "$REAL/data/$1/dict.txt" --sequence-length "$LENGTH" \
      --sentencepiece-model "$REAL/data/$1/sentencepiece.bpe.model"
  done
}
score() { # score LANGUAGE: topics by the bodies of three seeds, retrieval, MLM loss
  local seed pack tests=() packs=() texts=()
  fairseq-minimodel export-benchmark --benchmark sib200 --data "$REAL/sib200" --split dev \
    --language "$1" --output "$OUT/tests/$1.jsonl"
  while read -r pack; do
    tests+=(--test "$pack" "$OUT/tests/$1.jsonl") packs+=(--pack "$pack")
    texts+=(--pack "$pack" "$OUT/tests/$1.jsonl")
  done < <(find "$OUT/packs/$1" -name language.json -printf '%h\n' | sort -V)
  for seed in $SEEDS; do
    fairseq-minimodel evaluate --body "$REAL/sib200:$seed/checkpoint_last.pt" "${tests[@]}" \
      --text-columns text --label-column label --bf16 --json "$OUT/scores/topics:$seed:$1.json"
  done
  fairseq-minimodel retrieve --body "$body" --source-pack "$english" "${packs[@]}" --layer 6 \
    --data "$DATA/parallel/tatoeba" --bf16 --json "$OUT/scores/retrieval:$1.json"
  fairseq-minimodel perplexity --body "$REAL/head:standard/checkpoint_last.pt" "${texts[@]}" \
    --bf16 --json "$OUT/scores/loss:$1.json"
}

for seed in $SEEDS; do
  run "pairs:$seed" python "$here/amounts.py" pairs "$OUT/pairs/$seed" --seed "$seed" \
    --files "$DATA"/parallel/en-sw-globalvoices/train.{en,swa}.xz --amounts "${PAIRS[@]}"
  run "prepare:$seed:sw" prepare sw "$seed" "${TOKENS[@]}"
  run "sentences:$seed:sw" translate_words sw "$OUT/sentences/sw/$seed" \
    --seed "$seed" --sentences 10000
  for known in focus words sentences "${PAIRS[@]}"; do
    start sw "$known" "$seed"
    for tokens in "${TOKENS[@]}"; do adapt sw "$known" "$tokens" "$seed" "$UPDATES" 1; done
  done
done
run score:sw score sw
seed=${SEEDS%% *}
for one in $LONG; do
  language=${one%:*} known=${one#*:}
  read -ra amounts <<<"${LONG_TOKENS[$language]}"
  run "prepare:$seed:$language" prepare "$language" "$seed" "${amounts[@]}"
  start "$language" "$known" "$seed"
  for tokens in "${amounts[@]}"; do
    adapt "$language" "$known" "$tokens" "$seed" "$LONG_UPDATES" "$LONG_POINTS"
  done
  run "score:$language" score "$language"
done
show tables python "$here/tables.py" "$OUT"
end
