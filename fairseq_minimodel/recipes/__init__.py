"""Whole paths as one command, which prints and runs the commands that it is made of."""
