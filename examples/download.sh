#!/usr/bin/env bash
# Fetch a data set as its authors publish it, and check it. A file that is there is only checked.
#   examples/download.sh NAME... FOLDER
set -euo pipefail

# name, file, SHA-256 (- : none is published), address
sets() {
  cat <<'END'
multinli multinli_1.0.zip 049f507b9e36b1fcb756cfd5aeb3b7a0cfcb84bf023793652987f7e7e0957822 https://cims.nyu.edu/~sbowman/multinli/multinli_1.0.zip
xnli XNLI-1.0.zip 4ba1d5e1afdb7161f0f23c66dc787802ccfa8a25a3ddd3b165a35e50df346ab1 https://dl.fbaipublicfiles.com/XNLI/XNLI-1.0.zip
pawsx x-final.tar.gz 4146db499101d66e68ae4c8ed3cf9dadecd625f44b7d8cf3d4a0fe93afc4fd9f https://storage.googleapis.com/paws/pawsx/x-final.tar.gz
squad train-v1.1.json 3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955 https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v1.1.json
squad dev-v1.1.json 95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9 https://rajpurkar.github.io/SQuAD-explorer/dataset/dev-v1.1.json
mlqa MLQA_V1.zip 246e8089933d13007fe80684d5c5c0713d6834cf8b3b4a0ec7c66f0a0d2baac8 https://dl.fbaipublicfiles.com/MLQA/MLQA_V1.zip
END
  for language in ar bg de el en es fr hi ru sw th tr ur vi zh-Hans; do
    echo "cc100-$language $language.txt.xz - https://data.statmt.org/cc-100/$language.txt.xz"
  done
}

fail() {
  echo "$1" >&2
  exit 2
}

fetch() { # fetch FILE SHA256 ADDRESS
  local file=$1 sum=$2 address=$3
  if [ ! -e "$file" ]; then
    curl --fail --location --silent --show-error --continue-at - --output "$file.part" "$address" ||
      fail "$address could not be fetched: fetch it where there is a network, and put it at $file"
    mv "$file.part" "$file"
  fi
  if [ "$sum" = - ]; then
    echo "$file: there is no published checksum"
  elif echo "$sum  $file" | sha256sum --check --status; then
    echo "$file: checksum as it should be"
  else
    fail "$file has another SHA-256 than $sum: remove it and fetch it again"
  fi
}

[ $# -ge 2 ] || fail "usage: $0 NAME... FOLDER, with names of: $(sets | cut -d' ' -f1 | sort -u | xargs)"
folder=${!#}
mkdir -p "$folder"
for name in "${@:1:$#-1}"; do
  rows=$(sets | grep "^$name ") || fail "there is no set $name; there is: $(sets | cut -d' ' -f1 | sort -u | xargs)"
  while read -r _ file sum address; do
    fetch "$folder/$file" "$sum" "$address"
  done <<<"$rows"
done
