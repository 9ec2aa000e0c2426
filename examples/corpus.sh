#!/usr/bin/env bash
# A corpus that is too large for one job: parts, one vocabulary from a sample of all of them, then each
# part by itself (docs/recipes.md).
#   export TEXT=en.txt.xz OUT=outputs/xnli/data/en
#   examples/corpus.sh split          cut TEXT into parts; prints how many
#   examples/corpus.sh vocabulary     from the beginning of each part
#   examples/corpus.sh part 0         a folder of binary data; and so on: in any order, at the same time
#   examples/corpus.sh data           what fairseq-train takes: the folders with colons between
# What is done is not done again. Parts and vocabulary stand in OUT.work, which can go at the end.
set -euo pipefail
TEXT=${TEXT:?give the text: TEXT=FILE $0} OUT=${OUT:?give the folder to make: OUT=FOLDER $0}
PART_BYTES=${PART_BYTES:-4G} SAMPLE_LINES=${SAMPLE_LINES:-20000}
VOCABULARY=${VOCABULARY:---vocabulary-size 50000 --character-coverage 0.9998}
work=$OUT.work

read_text() {
  case $TEXT in
    *.xz) xz -dc -T0 "$TEXT" ;;
    *.gz) gzip -dc "$TEXT" ;;
    *.zst) zstd -dc "$TEXT" ;;
    *) cat "$TEXT" ;;
  esac
}

cut_text() {
  if [ ! -e "$work/parts" ]; then
    rm -rf "$work/parts.partial"
    mkdir -p "$work/parts.partial"
    # shellcheck disable=SC2016 # split sets FILE
    read_text | split --line-bytes="$PART_BYTES" --numeric-suffixes --suffix-length=4 \
      --filter='gzip -1 >"$FILE.txt.gz"' - "$work/parts.partial/"
    mv "$work/parts.partial" "$work/parts"
  fi
  echo "$(ls "$work/parts" | wc -l) parts"
}

learn_vocabulary() {
  local part
  if [ ! -e "$work/sample.txt.gz" ]; then
    for part in "$work"/parts/*.txt.gz; do
      { gzip -dc "$part" 2>/dev/null || true; } | head -n "$SAMPLE_LINES" # head ends first
      echo
    done | gzip -1 >"$work/sample.partial"
    mv "$work/sample.partial" "$work/sample.txt.gz"
  fi
  # shellcheck disable=SC2086
  fairseq-minimodel prepare --text "$work/sample.txt.gz" --output "$work/vocabulary" $VOCABULARY
}

prepare_part() {
  local name
  name=$(printf '%04d' "$1")
  fairseq-minimodel prepare --text "$work/parts/$name.txt.gz" --output "$OUT/$name" --shards 1 \
    --dict "$work/vocabulary/dict.txt" \
    --sentencepiece-model "$work/vocabulary/sentencepiece.bpe.model"
}

case ${1:-} in
  split) cut_text ;;
  vocabulary) learn_vocabulary ;;
  part) prepare_part "${2:?which part? $0 part 0}" ;;
  data) ls -d "$OUT"/[0-9]* | paste -sd: ;;
  *)
    sed -n '2,9s/^# \?//p' "$0"
    exit 2
    ;;
esac
