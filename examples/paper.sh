# The sizes of the paper, and with SMOKE=1 sizes to see that a recipe runs: sourced by xnli, pawsx
# and mlqa. What is not here is in the configs in hydra/.

VARIANTS=${VARIANTS:-standard minijoint minipost} STANDARD_BODY=${STANDARD_BODY:-plain}
SEEDS=${SEEDS:-1}
LAYERS=12 DEPTH=4 NEW_LAYERS=2 SIZES=() LENGTH=512
SEQUENCES=2048 BATCH=${BATCH:-16}
VOCABULARY=(--vocabulary-size 50000 --character-coverage 0.9998)
TRAINING=() PRETRAIN=() POST=() ADAPT=() WINDOWS=()

if [ -n "${SMOKE:-}" ]; then
  OUT=$OUT-smoke DATA=$OUT/generated TEXT=$OUT/text SETS=generated LANGUAGES=de STANDARD_BODY=joint
  PRECISION=${PRECISION:-fp32}
  LAYERS=4 DEPTH=2 NEW_LAYERS=1 LENGTH=64 SEQUENCES=16
  SIZES=(+model.encoder_embed_dim=32 +model.encoder_ffn_embed_dim=64 +model.encoder_attention_heads=2)
  VOCABULARY=(--vocabulary-size 500 --character-coverage 1.0)
  TRAINING=(optimization.max_update=4 lr_scheduler.warmup_updates=1 dataset.num_workers=0)
  WINDOWS=(--max-length 64 --stride 16 --max-question 24)
fi
