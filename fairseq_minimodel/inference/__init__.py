"""Models at work: the Python interface, and the verb that reads lines and writes predictions."""
