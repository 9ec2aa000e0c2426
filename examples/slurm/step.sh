#!/usr/bin/env bash
# One step of a recipe, as submit.sh submits it. Shortly before its time is over it is queued again.
set -euo pipefail
step=$1 needs=$2

if [ "$needs" = gpu ]; then
  PROCESSES=$((SLURM_NNODES * GPUS_PER_NODE))
  host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  LAUNCH="srun --kill-on-bad-exit=1 torchrun --nnodes=$SLURM_NNODES --nproc-per-node=$GPUS_PER_NODE"
  LAUNCH+=" --rdzv-id=$SLURM_JOB_ID --rdzv-backend=c10d"
  LAUNCH+=" --rdzv-endpoint=$host:$((20000 + SLURM_JOB_ID % 20000))"
else
  PROCESSES=1 LAUNCH=''
fi
export PROCESSES LAUNCH

again() {
  echo "$(date): time is over, $step is queued again" >&2
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap again USR1
"$RECIPE" "$step" & # in the background: bash handles a signal only between its own commands
wait $!
