"""Medians, spreads and ratios of samples that were taken in turn.

    Side a and side b are measured A B, B A, A B, …: sample i of both comes from round i, so that what disturbs the
    machine for a while disturbs both. The ratio is the median of the rounds' ratios, not the ratio of the medians.
"""

from statistics import median


def spread(samples):
    """Largest less smallest, as a part of the median."""
    middle = median(samples)
    return (max(samples) - min(samples)) / middle if middle else 0.0


def ratios(ours, theirs, better):
    """Per round, how many times as good ours is: above 1 is better, whether `better` is "lower" or "higher"."""
    if better == "lower":
        return [t / o if o else float("inf") for o, t in zip(ours, theirs)]
    return [o / t if t else float("inf") for o, t in zip(ours, theirs)]


def in_turn(rounds, *sides):
    """Calls each side once per round, in alternating order; returns a list of results per side."""
    results = [[] for _ in sides]
    for number in range(rounds):
        order = list(range(len(sides)))
        if number % 2:
            order.reverse()
        for i in order:
            results[i].append(sides[i]())
    return results


def percentile(samples, part):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
