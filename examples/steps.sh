# Steps that are done once: sourced by the other scripts. $OUT is the folder of all results.

# run NAME COMMAND...: one step; what it prints goes to $OUT/logs/NAME.log
run() {
  local name=$1 started=$SECONDS status
  shift
  if [ -e "$OUT/logs/$name.done" ]; then return; fi
  mkdir -p "$OUT/logs"
  printf '%-34s' "$name"
  set +e # not `if !`: in a condition bash does not stop a function at its first failure
  (
    set -e
    "$@"
  ) >>"$OUT/logs/$name.log" 2>&1
  status=$?
  set -e
  if [ "$status" != 0 ]; then
    echo "failed:"
    tail -n 15 "$OUT/logs/$name.log"
    exit "$status"
  fi
  touch "$OUT/logs/$name.done"
  echo "$((SECONDS - started)) s"
}

# keep_settings NAME...: results of other settings are not mixed: what these variables say must be
# what $OUT was made with.
keep_settings() {
  local name settings
  settings=$(for name in "$@"; do
    local -n value=$name
    echo "$name=${value[*]}"
  done)
  mkdir -p "$OUT"
  if [ -e "$OUT/settings.txt" ] && [ "$settings" != "$(cat "$OUT/settings.txt")" ]; then
    echo "$OUT holds results of other settings (settings.txt): remove it, or give OUT=FOLDER" >&2
    exit 2
  fi
  if [ ! -e "$OUT/settings.txt" ]; then # in one move: several jobs may begin at once
    echo "$settings" >"$OUT/settings.txt.$$"
    mv "$OUT/settings.txt.$$" "$OUT/settings.txt"
  fi
}
