"""Plain PyTorch layers. Nothing here knows of fairseq."""
