#!/usr/bin/env bash
# English to five languages on real text, with a small model (docs/results.md): topics (SIB-200),
# inference (XNLI), questions (XQuAD), and without labels retrieval (Tatoeba) and perplexity (NTREX).
#   DATA=FOLDER examples/six_languages/run.sh          FOLDER as docs/results.md says
#   DATA=FOLDER examples/six_languages/run.sh STEP     one step; --list shows all
set -euo pipefail
OUT=${OUT:-outputs/six_languages} DATA=${DATA:?give the folder of the data: DATA=FOLDER $0} SETS=''
SOURCE=en LANGUAGES=${LANGUAGES:-de el sw tr vi}
VARIANTS=${VARIANTS:-standard minijoint minipost untrained} STANDARD_BODY=joint SEEDS=${SEEDS:-1 2}
PRECISION=${PRECISION:-bf16}
LAYERS=4 DEPTH=2 NEW_LAYERS=1 LENGTH=128
SIZES=(+model.encoder_embed_dim=128 +model.encoder_ffn_embed_dim=512 +model.encoder_attention_heads=4)
SEQUENCES=16 BATCH=16
VOCABULARY=(--vocabulary-size 8000 --document-per-line)
WINDOWS=(--max-length 128 --stride 64 --max-question 32)
TRAINING=(dataset.num_workers=0)
mlm=(task.sample_break_mode=none +model.dropout=0.0 +model.attention_dropout=0.0)
PRETRAIN=("${mlm[@]}" 'optimization.lr=[0.002]' optimization.max_update=10000
  lr_scheduler.total_num_update=10000 lr_scheduler.warmup_updates=1000)
POST=(optimization.max_update=1000 lr_scheduler.total_num_update=1000 lr_scheduler.warmup_updates=100)
ADAPT=("${mlm[@]}" task.initialise=overlap 'optimization.lr=[0.005]' optimization.max_update=600
  lr_scheduler.total_num_update=600 lr_scheduler.warmup_updates=60)
TASKS=(sib200 xnli xquad)

text_of() {
  case $1 in
    en) printf '%s\n' "$DATA"/mono/en/{wikinews.jsonl,common-voice.txt}.xz ;;
    sw) printf '%s\n' "$DATA"/parallel/en-sw-globalvoices/train.swa.xz ;;
    *) printf '%s\n' "$DATA/mono/$1"/{wikipedia.jsonl,common-voice.txt}.xz ;;
  esac
}

fine_tuning() { # fine_tuning LEARNING_RATE UPDATES
  FINETUNE=("optimization.lr=[$1]" optimization.max_update="$2" optimization.max_epoch=1000
    lr_scheduler.total_num_update="$2" lr_scheduler.warmup_updates=$(($2 / 10)))
}

task_sib200() {
  KIND=classification CONFIG=finetune EXAMPLES=32 COLUMNS_OF_TEXT=(text)
  TRAIN=(sib200 "$DATA/topic/sib200" train)
  VALID=(sib200 "$DATA/topic/sib200" dev)
  TEST=("${VALID[@]}")
  fine_tuning 0.0003 220
  FINETUNE+=(task.num_classes=7)
}

task_xnli() { # the training set of XNLI, MultiNLI, is not needed: a smaller one of SNLI's pairs
  KIND=classification CONFIG=finetune EXAMPLES=32
  TRAIN=(snli-counterfactual "$DATA/nli/snli-counterfactual" train)
  VALID=(snli-counterfactual "$DATA/nli/snli-counterfactual" dev)
  TEST=(xnli "$DATA/nli/xnli" dev)
  fine_tuning 0.0003 1300
}

task_xquad() { # trained on TyDi QA's English questions
  KIND=questions CONFIG=finetune_questions EXAMPLES=24 TESTED="en de el tr vi"
  TRAIN=(tydiqa-goldp "$DATA/qa/tydiqa-goldp/tydiqa.goldp.en.train.json.xz" train)
  VALID=(mlqa "$DATA/qa/mlqa/dev-context-en-question-en.json.xz" dev)
  TEST=(xquad "$DATA/qa/xquad" test)
  fine_tuning 0.0005 900
}

more_steps() {
  local seed variant check
  for seed in $SEEDS; do
    for variant in $VARIANTS; do
      for check in retrieve perplexity; do
        NEEDS=gpu AFTER="evaluate:$seed:sib200:$variant $(adaptations "$seed" "$variant")" \
          run "$check:$seed:$variant" "$check" "$seed" "$variant"
      done
    done
  done
}

retrieve() { # retrieve SEED VARIANT
  local language packs=()
  for language in $LANGUAGES; do packs+=(--pack "$OUT/seed$1/packs/$2/$language"); done
  fairseq-minimodel retrieve --body "$OUT/joint/checkpoint_last.pt" "${packs[@]}" \
    --source-pack "$OUT/seed$1/packs/$2/$SOURCE" --data "$DATA/parallel/tatoeba" \
    --json "$OUT/seed$1/scores/retrieval-$2.json"
}

perplexity() { # perplexity SEED VARIANT
  local language packs=()
  declare -A code=([de]=deu [el]=ell [sw]=swa [tr]=tur [vi]=vie)
  for language in $LANGUAGES; do
    packs+=(--pack "$OUT/seed$1/packs/$2/$language"
      "$DATA/parallel/ntrex/newstest2019-ref.${code[$language]}.txt.xz")
  done
  fairseq-minimodel perplexity --body "$OUT/joint/checkpoint_last.pt" "${packs[@]}" \
    --json "$OUT/seed$1/scores/perplexity-$2.json"
}

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=examples/recipe.sh
source "$examples/recipe.sh"
