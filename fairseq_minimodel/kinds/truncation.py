"""Examples that are longer than the model has positions: which of their tokens are kept."""

from collections.abc import Sequence


def kept_lengths(sizes: Sequence[int], room: int) -> list[int]:
    """How many tokens of each text, from its beginning, are kept where there is room for so many.

    A single text is cut at its end. Of two, the longer is cut first, until both are equally long; then
    both lose tokens, and of an odd number of places the text that was longer gets one more (of equally
    long texts the second). That is the rule "longest_first" of Hugging Face's `tokenizers`, so that an
    exported model reads the same tokens.

    Args:
        sizes: tokens of each of one or two texts, without special tokens.
    """
    room = max(room, 0)
    if sum(sizes) <= room:
        return list(sizes)
    if len(sizes) == 1:
        return [room]
    shorter = min(sizes)
    longer = room - shorter
    if longer < shorter:
        shorter = room // 2
        longer = room - shorter
    return [longer, shorter] if sizes[0] > sizes[1] else [shorter, longer]
