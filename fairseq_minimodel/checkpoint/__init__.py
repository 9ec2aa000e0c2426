"""Reading fairseq checkpoints safely, and explicit surgery on them."""
