"""Bodies: pretrained models, and one made out of another. Nothing here needs fairseq."""
