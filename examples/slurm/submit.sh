#!/usr/bin/env bash
# Submit a recipe to SLURM: one job per step, each after the steps that it needs.
#   TEXT=FOLDER OUT=FOLDER examples/slurm/submit.sh examples/xnli/run.sh
# Steps that are done are not submitted. A job that is preempted or at the end of its time is queued
# again, and goes on from its last checkpoint. Where your cluster differs, say so in these:
#
#   SBATCH_ALL        options for every job: --account=NAME
#   SBATCH_CPU        for data:      --partition=NAME --cpus-per-task=16 --mem=64G --time=24:00:00
#   SBATCH_GPU        for training:  --partition=NAME --gpus-per-node=8 --time=24:00:00
#   SBATCH_NETWORK    for downloads
#   NODES GPUS_PER_NODE   of a training job
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RECIPE=$(realpath "${1:?name a recipe: $0 examples/xnli/run.sh}")
: "${OUT:?give the folder of all results, which every node can read: OUT=FOLDER $0}"
export RECIPE NODES=${NODES:-1} GPUS_PER_NODE=${GPUS_PER_NODE:-8}
SBATCH_CPU=${SBATCH_CPU:---cpus-per-task=16 --mem=64G --time=24:00:00}
SBATCH_GPU=${SBATCH_GPU:---gpus-per-node=$GPUS_PER_NODE --cpus-per-task=64 --mem=0 --time=24:00:00}
SBATCH_NETWORK=${SBATCH_NETWORK:---cpus-per-task=1 --mem=4G --time=4:00:00}

mkdir -p "$OUT/slurm"
declare -A job
while read -r step needs before; do
  if [ -e "$OUT/logs/$step.done" ]; then continue; fi
  after=()
  for name in $before; do
    if [ -n "${job[$name]:-}" ]; then after+=("${job[$name]}"); fi
  done
  options=(--parsable --requeue --open-mode=append --signal=B:USR1@180 --job-name="$step"
    --output="$OUT/slurm/%x.log" --nodes="$([ "$needs" = gpu ] && echo "$NODES" || echo 1)"
    --ntasks-per-node=1)
  if [ "${#after[@]}" -gt 0 ]; then
    options+=(--dependency="afterok$(printf ':%s' "${after[@]}")" --kill-on-invalid-dep=yes)
  fi
  kind=SBATCH_${needs^^}
  # shellcheck disable=SC2086
  job[$step]=$(sbatch "${options[@]}" ${SBATCH_ALL:-} ${!kind} "$here/step.sh" "$step" "$needs")
  job[$step]=${job[$step]%%;*} # a cluster's name may follow
  echo "${job[$step]} $step${after[*]:+ after ${after[*]}}"
done < <("$RECIPE" --list)
