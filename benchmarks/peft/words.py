"""An invented language: words of three syllables, and endless text of them by Zipf's law."""
import itertools
import random

_SYLLABLES = [c + v for c in "bdfgklmnprst" for v in "aiou"]
VOCABULARY = ["".join(s) for s in itertools.product(_SYLLABLES[:24], _SYLLABLES[24:], _SYLLABLES[:16])]


def text(seed):
    """Yields words for ever; the n-th most frequent one comes with a frequency of about 1 / n."""
    rng = random.Random(seed)
    order = VOCABULARY[:]
    random.Random(0).shuffle(order)
    cumulative = list(itertools.accumulate(1.0 / (n + 1) for n in range(len(order))))
    while True:
        yield from rng.choices(order, cum_weights=cumulative, k=4096)
