"""The verb `inspect`: what a file is, and where two differ."""
