"""fairseq imports every file in `tasks/` of its --user-dir: this one makes all the rest known to it."""

from .. import register

register()
