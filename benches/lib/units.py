"""Numbers as people read them."""

MIB = 1024 * 1024
GIB = 1024 * MIB


def show(value, unit):
    """A value with its unit: "s" is shown as s, ms or µs; "B" as MiB or GiB; others as they are."""
    if value is None:
        return "–"
    if unit == "s":
        for factor, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if value >= factor:
                return f"{_digits(value / factor)} {name}"
        return "0 s"
    if unit == "B":
        return f"{_digits(value / GIB)} GiB" if value >= GIB else f"{_digits(value / MIB)} MiB"
    if unit == "B/s":
        return f"{_digits(value / MIB)} MiB/s"
    return f"{_digits(value)} {unit}".strip()


def _digits(value):
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"
