"""`python -m fairseq_minimodel VERB`: the command `fairseq-minimodel`, wherever it is on the PATH."""

import sys

from .cli import main

# Not in a worker process, which imports this file under another name.
if __name__ == "__main__":
    sys.exit(main())
