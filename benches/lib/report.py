"""What a benchmark found: rows of samples, kept as JSON, shown as a table, written as a piece of Markdown.

    report = Report("download", "Downloads beside nginx", ["headwater", "nginx"])
    report.row("https, 8 clients", "wall time", "s", [1.1, 1.2], [1.3, 1.2], better="lower", aim=1.0)
    report.limit("server, 64 downloads", "resident memory", "B", 48e6, most=100 * MIB)
    report.picture("growth", chart)     # a lib/chart.py Chart
    report.finish(folder)       # prints, writes NAME.json and NAME.md, says whether all limits held
"""

import json
import os

from .machine import describe, sentence
from .stats import median, ratios, spread
from .units import show


class Report:
    def __init__(self, name, title, sides, command, compare=((0, 1),)):
        """`compare` says of which pairs of sides there are ratios: of the first to the second of each."""
        self.compare = [[number % len(sides) for number in pair] for pair in compare if len(sides) > 1]
        self.name = name
        self.title = title
        self.sides = sides
        self.command = command
        self.machine = describe()
        self.notes = []
        self.rows = []
        self.limits = []
        self.pictures = []
        self.table = []  # lines of cells, the first with headings, for what is no sample of a side
        self.others = []  # shares of the machine that others took, one per measured piece

    def note(self, text):
        """A sentence about how it was measured, or what is compared."""
        self.notes.append(text)
        print("    " + text, flush=True)

    def row(self, what, measure, unit, *samples, better="lower", aim=None, compared=True, goal=None):
        """Samples of each side, of the same rounds; `compared` says whether a ratio means anything. Ratios are those of the first compared side to the
        second; `aim` is the least that the median ratio should be: "MISSED" is said when no round reached it. `goal` is what the first compared
        side's own figure should reach, whatever the other has. A side may be None where it has no such figure."""
        row = {"what": what, "measure": measure, "unit": unit, "better": better, "aim": aim, "goal": goal, "sides": {}}
        for side, values in zip(self.sides, samples):
            if values:
                row["sides"][side] = {"samples": values, "median": median(values), "spread": spread(values)}
        if goal is not None:
            own = median(samples[self.compare[0][0]] if len(samples) > 1 else samples[0])
            row["met"] = own <= goal if better == "lower" else own >= goal
        pairs = [pair for pair in self.compare if compared and max(pair) < len(samples)]
        row["ratios"] = [
            _compared(ratios(samples[first], samples[second], better), self.sides[second], aim)
            for first, second in pairs
            if samples[first] and samples[second]
        ]
        self.rows.append(row)
        print(f"    {what}, {measure}: " + self._line(row), flush=True)

    def limit(self, what, measure, unit, value, most):
        """A figure that must stay below a limit; the exit code tells."""
        held = value < most
        self.limits.append({"what": what, "measure": measure, "unit": unit, "value": value, "most": most, "held": held})
        print(f"    {what}, {measure}: {show(value, unit)} {'<' if held else 'NOT <'} {show(most, unit)}", flush=True)

    def _line(self, row):
        parts = [f"{side} {show(figures['median'], row['unit'])}" for side, figures in row["sides"].items()]
        parts += [_ratio(one) + (f" {one['side']}" if len(row["ratios"]) > 1 else "") for one in row["ratios"]]
        return ", ".join([*parts, *filter(None, [_verdict(row)])])

    def line(self, headings, cells):
        """A line of a table of its own, in words: for figures that are the same each time."""
        self.table = self.table or [headings]
        self.table.append(cells)
        print("    " + ", ".join(cells), flush=True)

    def picture(self, name, chart):
        """A chart for the page, kept beside the results."""
        self.pictures.append((name, chart.title, chart.svg()))

    def finish(self, folder):
        os.makedirs(folder, exist_ok=True)
        for name, _, svg in self.pictures:
            with open(os.path.join(folder, name + ".svg"), "w") as out:
                out.write(svg)
        with open(os.path.join(folder, self.name + ".json"), "w") as out:
            kept = {**self.__dict__, "pictures": [name for name, _, _ in self.pictures]}
            json.dump(kept, out, indent=1)
            out.write("\n")
        with open(os.path.join(folder, self.name + ".md"), "w") as out:
            out.write(self.markdown())
        print()
        print(self.title)
        for line in _aligned(self._cells()):
            print("  " + line)
        for line in _aligned(self.table):
            print("  " + line)
        for line in _aligned(self._limit_cells()):
            print("  " + line)
        return all(limit["held"] for limit in self.limits)

    def markdown(self):
        """Everything but the headline, to be pasted into a page."""
        rounds = max((len(figures["samples"]) for row in self.rows for figures in row["sides"].values()), default=1)
        parts = [f"Measured with `{self.command}` on {sentence(self.machine)}; {rounds} round{'s' * (rounds > 1)}."]
        if self.others:
            parts[0] += (
                f" Other processes took {median(self.others):.0%} of the machine's CPU time meanwhile"
                f" (median of the runs; most {max(self.others):.0%})."
            )
        if self.notes:
            parts.append("\n".join("- " + note for note in self.notes))
        parts += [f"![{title}](performance/{name}.svg)" for name, title, _ in self.pictures]
        if self.rows:
            parts.append(_table(self._cells()))
        if self.table:
            parts.append(_table(self.table))
        if self.limits:
            parts.append(_table(self._limit_cells()))
        return "\n\n".join(parts) + "\n"

    def _cells(self):
        if not self.rows:
            return []
        compared = any(row["ratios"] for row in self.rows)
        judged = compared or any(row["goal"] is not None for row in self.rows)
        peers = [self.sides[second] for _, second in self.compare] if compared else []
        heads = ["times as good"] if len(peers) == 1 else [f"times as good as {peer}" for peer in peers]
        head = ["what", "measure"] + self.sides + heads + ([""] if judged else [])
        cells = [head]
        for row in self.rows:
            line = [row["what"], row["measure"]]
            for side in self.sides:
                figures = row["sides"].get(side)
                line.append(f"{show(figures['median'], row['unit'])} ±{figures['spread'] / 2:.0%}" if figures else "–")
            known = {one["side"]: _ratio(one) for one in row["ratios"]}
            line += [known.get(peer, "–") for peer in peers] + ([_verdict(row)] if judged else [])
            cells.append(line)
        return cells

    def _limit_cells(self):
        if not self.limits:
            return []
        cells = [["what", "measure", "value", "limit", ""]]
        for one in self.limits:
            verdict = "held" if one["held"] else "NOT HELD"
            cells.append([one["what"], one["measure"], show(one["value"], one["unit"]), show(one["most"], one["unit"]), verdict])
        return cells


def _compared(each, side, aim):
    middle, low, high = median(each), min(each), max(each)
    verdict = {"reached": aim is None or middle >= aim, "undecided": aim is not None and low < aim < high}
    return {"side": side, "median": middle, "lowest": low, "highest": high, **verdict}


def _ratio(one):
    return "{} ({}–{})".format(*(_times(one[k]) for k in ("median", "lowest", "highest")))


def _times(value):
    return f"{value:.0f}×" if value >= 20 else f"{value:.1f}×" if value >= 5 else f"{value:.2f}×"


def _verdict(row):
    if row.get("goal") is not None:
        sign = "<" if row["better"] == "lower" else ">"
        return f"aim {sign} {show(row['goal'], row['unit'])} {'reached' if row['met'] else 'MISSED'}"
    if row.get("aim") is None or not row["ratios"]:
        return ""
    behind = [one for one in row["ratios"] if not one["reached"]]
    beside = f" beside {', '.join(one['side'] for one in behind)}" if behind and len(row["ratios"]) > 1 else ""
    verdict = "reached" if not behind else "within the spread" if all(one["undecided"] for one in behind) else "MISSED"
    return f"aim {_times(row['aim'])} {verdict}{beside}"


def _aligned(cells):
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))] if cells else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]


def _table(cells):
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    lines.insert(1, "|" + " --- |" * len(cells[0]))
    return "\n".join(lines)
