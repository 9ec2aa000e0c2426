#!/usr/bin/env bash
# A real English model, all-MiniLM-L6-v2, in six languages (docs/results.md): topics (SIB-200),
# inference (XNLI), paraphrase (PAWS-X), retrieval (Tatoeba) and MLM loss, from several starts and by
# two ways of training, over three seeds.
#   DATA=FOLDER examples/real_model/run.sh              FOLDER as docs/results.md says
#   DATA=FOLDER examples/real_model/run.sh 'sib200*'    the steps of these names; --list shows all
#   SMOKE=1 DATA=... MODEL=... examples/real_model/run.sh     a few updates, to see that it runs
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

DATA=${DATA:?give the folder of the data: DATA=FOLDER $0}
MODEL=${MODEL:-} # a folder in the form of Hugging Face; empty: downloaded
OUT=${OUT:-outputs/real_model} LANGUAGES=${LANGUAGES:-de el sw tr vi ar} SEEDS=${SEEDS:-1 2 3}
COMPARED=${COMPARED-de sw} # languages in which Standard and MiniPost train from the same start
XNLI_SEEDS=${XNLI_SEEDS-$SEEDS} PAWSX_SEEDS=${PAWSX_SEEDS-$SEEDS} # empty: leave the task out
JOBS=${JOBS:-2} # trainings in English, and then languages, side by side
VOCABULARY=8000 LENGTH=128 BATCH=16 # sequences; 2,048 tokens an update
DEPTH=3                             # MiniPost: layers that stay, below a copy of the next one
# Updates in English, of a new MLM head and the layer under it; in the new language, at equal compute
# (4 layers, 6 layers); on the tasks.
HEAD_UPDATES=600 MINIPOST_UPDATES=300 STANDARD_UPDATES=195 POINTS=5
SIB200_UPDATES=78 XNLI_UPDATES=520 PAWSX_UPDATES=250
RATE=0.001 # of MLM training
if [ -n "${SMOKE:-}" ]; then
  OUT=${OUT%-smoke}-smoke VOCABULARY=300 HEAD_UPDATES=4 MINIPOST_UPDATES=4 STANDARD_UPDATES=4 POINTS=2
  SIB200_UPDATES=4 XNLI_UPDATES=4 PAWSX_UPDATES=4
fi

# shellcheck source=examples/steps.sh
source "$here/../steps.sh"
# shellcheck source=examples/real_model/model.sh
source "$here/model.sh"
side_by_side() { # side_by_side PATTERN...: the steps of these names, in $JOBS processes
  # Called by name, this process does one step, or a few, itself.
  if [ -z "$ONLY" ]; then printf '%s\n' "$@" | TOGETHER=yes xargs -P "$JOBS" -I STEPS "$0" STEPS; fi
}
keep_settings MODEL VOCABULARY LENGTH DEPTH HEAD_UPDATES MINIPOST_UPDATES STANDARD_UPDATES POINTS \
  SIB200_UPDATES XNLI_UPDATES PAWSX_UPDATES RATE
body=$OUT/minilm/body.pt english=$OUT/minilm/pack

# ---- the model, and what it learns in English

get_model
run import fairseq-minimodel import-hf --model "$MODEL" --language en --output "$OUT/minilm"
run data python "$here/data.py" "$DATA" "$OUT"
run prepare fairseq-minimodel prepare --text "$DATA/mono/en/wikinews.jsonl.xz" --output "$OUT/data/en" \
  --dict "$OUT/minilm/dict.txt" --sentencepiece-model "$OUT/minilm/tokenizer.json" \
  --sequence-length "$LENGTH"

sizes_of_model
COMMON=() SEED=1
masked=(--criterion joint_masked_lm --tokens-per-sample "$LENGTH" --sample-break-mode none
  --dropout 0 --attention-dropout 0)

# The model has no MLM head. MiniPost: a copy of layer DEPTH + 1 and a new head on the bottom DEPTH
# layers. Standard needs a head over all six: the same on the bottom five.
head_on() { # head_on NAME DEPTH
  run "extend:$1" fairseq-minimodel extend --body "$body" --depth "$2" --new-layers 1 --layers copy \
    --head new --seed 1 --output "$OUT/extended/$1.pt"
  train "head:$1" "$OUT/data/en" "$HEAD_UPDATES" $((HEAD_UPDATES / 10)) "$RATE" --task masked_lm \
    "${masked[@]}" "${SIZES[@]}" --max-positions 512 --encoder-layers $(($2 + 1)) \
    --freeze "bottom:$2+bias" --bf16 \
    --finetune-from-model "$OUT/extended/$1.pt"
}

labelled() { # labelled NAME BENCHMARK DATA TRAIN VALID COLUMN...
  local name=$1 split
  for split in "$4" "$5"; do
    fairseq-minimodel export-benchmark --benchmark "$2" --data "$3" --split "$split" --language en \
      --output "$OUT/data/$name-$split.jsonl"
  done
  fairseq-minimodel prepare-classification --output "$OUT/data/$name" --text-columns "${@:6}" \
    --train "$OUT/data/$name-$4.jsonl" --valid "$OUT/data/$name-$5.jsonl" --label-column label \
    --dict "$OUT/minilm/dict.txt" --sentencepiece-model "$OUT/minilm/tokenizer.json"
}
learn() { # learn TASK SEED CLASSES UPDATES RATE: the body with its language side frozen
  SEED=$2 BATCH=32 train "$1:$2" "$OUT/data/$1" "$4" $(($4 / 10)) "$5" --task sentence_prediction \
    --criterion sentence_prediction --num-classes "$3" --init-token 0 "${SIZES[@]}" --encoder-layers 6 \
    --max-positions 512 --shorten-method truncate --freeze language --bf16 --dropout 0.1 \
    --pooler-dropout 0.1 --finetune-from-model "$body" --disable-validation --no-save-optimizer-state
}
run sib200-data labelled sib200 sib200 "$OUT/sib200" train dev text
run xnli-data labelled xnli snli-counterfactual "$DATA/nli/snli-counterfactual" train dev text1 text2
run pawsx-data labelled pawsx pawsx "$DATA/paraphrase/pawsx" dev dev text1 text2
read -ra sib200 <<<"$SEEDS"
read -ra xnli <<<"$XNLI_SEEDS"
read -ra pawsx <<<"$PAWSX_SEEDS"
side_by_side "${xnli[@]/#/xnli:}" '*:minipost' '*:standard' "${pawsx[@]/#/pawsx:}" "${sib200[@]/#/sib200:}"
head_on minipost "$DEPTH"
head_on standard 5
for seed in $SEEDS; do learn sib200 "$seed" 7 "$SIB200_UPDATES" 0.0001; done
for seed in $XNLI_SEEDS; do learn xnli "$seed" 3 "$XNLI_UPDATES" 0.0001; done
for seed in $PAWSX_SEEDS; do learn pawsx "$seed" 2 "$PAWSX_UPDATES" 0.0001; done

# ---- one language after the other: all names of steps end in :LANGUAGE

translations() { # translations words|pairs|all LANGUAGE: options of the start
  local words=$DATA/parallel/freedict/en-$2.tsv.xz ntrex=$DATA/parallel/ntrex/newstest2019
  if [ "$1" != words ]; then
    printf '%s\n' --parallel "$ntrex-src.eng.txt.xz" "$ntrex-ref.${THREE[$2]}.txt.xz"
  fi
  if [ "$1" = all ]; then
    case $2 in
      sw) printf '%s\n' --parallel "$DATA"/parallel/en-sw-globalvoices/train.{en,swa}.xz ;;
      de) printf '%s\n' --parallel "$DATA"/parallel/multi30k/train.{en,de}.xz \
        --parallel "$OUT"/pairs/pawsx.{en,de} ;;
    esac
    if [ -e "$OUT/pairs/xquad-$2.en" ]; then
      printf '%s\n' --parallel "$OUT/pairs/xquad-$2".{en,"$2"}
    fi
  fi
  if [ "$1" != pairs ] && [ -e "$words" ]; then printf '%s\n' --dictionary "$words"; fi
}
start() { # start NAME LANGUAGE RULE TRANSLATIONS...: a language side without an update
  run "start-$1:$2" fairseq-minimodel start --body "$body" --data "$OUT/data/$2" --language "$2" \
    --initialise "$3" --output "$OUT/packs/$2/$1" "${@:4}"
}
adapt() { # adapt NAME SEED LANGUAGE METHOD UPDATES POINTS START...: the language side, packs on the way
  local name=$1:$2:$3 every=$(($5 / $6)) step=$OUT/$1:$2:$3
  SEED=$2 train "$name" "$OUT/data/$3" "$5" $(($5 / 10)) "$RATE" --task language_adaptation \
    "${masked[@]}" --base-checkpoint "$OUT/head:$4/checkpoint_last.pt" --body-precision bfloat16 \
    --source-dict "$OUT/minilm/dict.txt" --save-interval-updates "$every" --no-last-checkpoints \
    --validate-interval 1000 "${@:7}"
  run "pack-$name" pack_all "$step" "$3" "$OUT/trained/$3/$1/$2"
}
pack_all() { # pack_all FOLDER LANGUAGE OUTPUT: of all its checkpoints, which are then not needed
  local file
  for file in "$1"/checkpoint_*_[0-9]*.pt; do
    fairseq-minimodel pack --checkpoint "$file" --language "$2" --output "$3/$(basename "$file" .pt)"
  done
  rm "$1"/checkpoint_*.pt
}
tests() { # tests BENCHMARK DATA SPLIT LANGUAGE: its examples
  fairseq-minimodel export-benchmark --benchmark "$1" --data "$2" --split "$3" --language "$4" \
    --output "$OUT/tests/$1-$4.jsonl"
}
score() { # score TASK LANGUAGE COLUMNS PACK...: of each seed the body, in the starts and its own packs
  local seed test pack packs seeds=${1^^}_SEEDS
  for seed in ${!seeds-$SEEDS}; do
    packs=()
    for pack in "${@:4}"; do
      for test in ${pack//SEED/$seed}; do
        if [ -e "$test" ]; then packs+=(--test "$test" "$OUT/tests/$1-$2.jsonl"); fi
      done
    done
    # shellcheck disable=SC2086
    fairseq-minimodel evaluate --body "$OUT/$1:$seed/checkpoint_last.pt" "${packs[@]}" \
      --text-columns $3 --label-column label --bf16 --json "$OUT/scores/$1:$seed:$2.json"
  done
}
packs_of() { # packs_of LANGUAGE: its starts, and what was trained
  find "$OUT/packs/$1" "$OUT/trained/$1" -name language.json -printf '%h\n' 2>/dev/null | sort -V
}
retrieve() { # retrieve LANGUAGE
  local pack packs=()
  while read -r pack; do packs+=(--pack "$pack"); done < <(packs_of "$1")
  fairseq-minimodel retrieve --body "$body" --source-pack "$english" "${packs[@]}" --layer 6 \
    --data "$DATA/parallel/tatoeba" --bf16 --json "$OUT/scores/tatoeba:$1.json"
}
perplexity() { # perplexity LANGUAGE: in the full model, under the head that Standard trained
  local pack packs=()
  while read -r pack; do
    packs+=(--pack "$pack" "$OUT/tests/sib200-$1.jsonl")
  done < <(packs_of "$1")
  fairseq-minimodel perplexity --body "$OUT/head:standard/checkpoint_last.pt" "${packs[@]}" \
    --bf16 --json "$OUT/scores/perplexity:$1.json"
}

is_compared() { [[ " $COMPARED " = *" $1 "* ]]; }
language() { # language LANGUAGE: all its steps
  local known points seed seeds files starts trained pairs
  mapfile -t files < <(text_of "$1")
  run "prepare:$1" fairseq-minimodel prepare --text "${files[@]}" --output "$OUT/data/$1" \
    --vocabulary-size "$VOCABULARY" --case fold --document-per-line --sequence-length "$LENGTH"
  for rule in random overlap focus; do start "$rule" "$1" "$rule"; done
  for known in words pairs all; do
    mapfile -t files < <(translations "$known" "$1")
    if [ -z "${files[*]}" ]; then continue; fi # no word list
    start "$known" "$1" aligned "${files[@]}"
    if [ "$known" = pairs ] && ! is_compared "$1"; then continue; fi
    points=1 seeds=${SEEDS%% *}
    if [ "$known" = pairs ]; then points=$POINTS seeds=$SEEDS; fi
    for seed in $seeds; do
      adapt "$known-minipost" "$seed" "$1" minipost "$MINIPOST_UPDATES" "$points" \
        --initialise aligned "${files[@]}"
      if [ "$known" = pairs ]; then
        adapt pairs-standard "$seed" "$1" standard "$STANDARD_UPDATES" "$points" \
          --initialise aligned "${files[@]}"
      fi
    done
  done
  if is_compared "$1"; then
    adapt random-minipost "${SEEDS%% *}" "$1" minipost "$MINIPOST_UPDATES" 1 --initialise random
  fi

  starts=("$OUT/packs/$1"/*) trained=("$OUT/trained/$1"/{words,all,random}-minipost/"${SEEDS%% *}"
    "$OUT/trained/$1"/pairs-{minipost,standard}/SEED)
  run "sib200-tests:$1" tests sib200 "$OUT/sib200" dev "$1"
  run "xnli-tests:$1" tests xnli "$DATA/nli/xnli" dev "$1"
  run "score-sib200:$1" score sib200 "$1" text "${starts[@]}" "${trained[@]/%//*}"
  pairs=("$OUT/packs/$1"/{random,focus,pairs,all} # for tasks of pairs, which take longer
    "${trained[@]/%//*_$MINIPOST_UPDATES}" "${trained[@]/%//*_$STANDARD_UPDATES}")
  run "score-xnli:$1" score xnli "$1" "text1 text2" "${pairs[@]}"
  if [ -e "$DATA/paraphrase/pawsx/test-$1.tsv.xz" ]; then
    run "pawsx-tests:$1" tests pawsx "$DATA/paraphrase/pawsx" test "$1"
    run "score-pawsx:$1" score pawsx "$1" "text1 text2" "${pairs[@]}"
  fi
  run "retrieve:$1" retrieve "$1"
  run "perplexity:$1" perplexity "$1"
}

english_scores() { # the same in English
  tests sib200 "$OUT/sib200" dev en
  tests xnli "$DATA/nli/xnli" dev en
  score sib200 en text "$english"
  score xnli en "text1 text2" "$english"
}
run english english_scores
read -ra languages <<<"$LANGUAGES"
side_by_side "${languages[@]/#/*:}" # then none is left to do below
for language in $LANGUAGES; do language "$language"; done
show tables python "$here/tables.py" "$OUT"
end
