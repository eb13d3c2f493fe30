"""Pictures of how a cost grows: lines on two logarithmic axes, as SVG that can be read on light and on dark pages.

    chart = Chart("One image, by the size of the catalog", "images in the catalog", "time (ms)")
    chart.line("headwater", [(1000, 0.3), (1000000, 0.31)])
    chart.line("lxd", [(1000, 1.1)], dashed=True)
    chart.svg()
"""

import math
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 84, 40, 38, 56  # and a row of 20 for names, or several
# Two sets of colours: as dark as white paper wants them, and as light as a dark page does.
LIGHT = ("#0b62c4", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be123c")
DARK = ("#6cb2ff", "#ff9d66", "#5fd48a", "#c79bff", "#e6c35c", "#ff8da3")
STYLE = """text{{font:13px system-ui,sans-serif;fill:#1f2328}}
.title{{font-size:16px;font-weight:600}}
.grid{{stroke:#d0d7de;stroke-width:1}}
.axis{{stroke:#57606a;stroke-width:1.2}}
.line{{fill:none;stroke-width:2.4;stroke-linejoin:round}}
{light}
@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}.grid{{stroke:#3a424c}}.axis{{stroke:#9198a1}}
{dark}}}"""


class Chart:
    def __init__(self, title, across, up):
        self.title, self.across, self.up = title, across, up
        self.lines = []

    def line(self, name, points, dashed=False):
        """Points are (x, y), both above zero; those that are not known are left out."""
        points = sorted((x, y) for x, y in points if y)
        if points:
            self.lines.append((name, points, dashed))

    def svg(self):
        xs = [x for _, points, _ in self.lines for x, _ in points]
        ys = [y for _, points, _ in self.lines for _, y in points]
        if not xs:
            return None
        x_range, y_range = (min(xs), max(xs)), _decades(ys)
        places = self._places()
        top = TOP + 20 * (1 + max(row for row, _ in places))

        def x_at(value):
            return LEFT + _part(value, *x_range) * (WIDTH - LEFT - RIGHT)

        def y_at(value):
            return HEIGHT - BOTTOM - _part(value, *y_range) * (HEIGHT - top - BOTTOM)

        parts = [f'<text class="title" x="{LEFT}" y="24">{escape(self.title)}</text>']
        parts += self._across(sorted(set(xs)), x_at, top) + self._up(y_range, y_at, top)
        for number, ((name, points, dashed), (row, at)) in enumerate(zip(self.lines, places)):
            colour, dash = number % len(LIGHT), ' stroke-dasharray="7 5"' if dashed else ""
            path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in points)
            parts.append(f'<polyline class="line s{colour}" points="{path}"{dash}/>')
            parts += [f'<circle class="dot s{colour}" cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3.6"/>' for x, y in points]
            y = TOP + 8 + 20 * row
            parts.append(f'<line class="line s{colour}" x1="{at}" x2="{at + 22}" y1="{y}" y2="{y}"{dash}/>')
            parts.append(f'<text x="{at + 28}" y="{y + 4}">{escape(name)}</text>')
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE.format(light=_colours(LIGHT), dark=_colours(DARK))}</style>\n"
            + "\n".join(parts)
            + "\n</svg>\n"
        )

    def _places(self):
        """Where the name of each line stands: (row, x)."""
        places, row, at = [], 0, LEFT
        for name, _, _ in self.lines:
            width = 52 + 7 * len(name)
            if at + width > WIDTH and at > LEFT:
                row, at = row + 1, LEFT
            places.append((row, at))
            at += width
        return places

    def _across(self, values, x_at, top):
        bottom, parts, last = HEIGHT - BOTTOM, [], -100
        for value in values:
            x = x_at(value)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
            if x - last > 60:
                parts.append(f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{value:,}</text>')
                last = x
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(self.across)}</text>')
        return parts

    def _up(self, y_range, y_at, top):
        parts, bottom = [], HEIGHT - BOTTOM
        few = y_range[1] / y_range[0] <= 100
        decade = y_range[0]
        while decade <= y_range[1] * 1.001:
            for step in (1, 2, 5) if few else (1,):
                value = decade * step
                if value <= y_range[1] * 1.001:
                    y = y_at(value)
                    parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
                    parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.10g}</text>')
            decade *= 10
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{top}" y2="{bottom}"/>')
        middle = (top + bottom) / 2
        parts.append(
            f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">{escape(self.up)}</text>'
        )
        return parts


def _part(value, low, high):
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)) if high > low else 0.5


def _decades(values):
    """The powers of ten around all values."""
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values)))
    return low, high if high > low else low * 10


def _colours(colours):
    return "".join(f".line.s{n}{{stroke:{c}}}.dot.s{n}{{fill:{c}}}" for n, c in enumerate(colours))
