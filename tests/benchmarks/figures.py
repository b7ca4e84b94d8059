"""What a benchmark says: a figure, the machine's limit measured in the same run, and what we aim at."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

MARK = "FIGURE "


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. ``limit`` is what the machine does bare, ``aim`` what was asked for, if anything."""

    name: str
    value: str
    limit: str = ""
    aim: str = ""
    is_met: bool | None = None


def say(figure: Figure) -> None:
    """Hand a figure to whoever runs this benchmark."""
    print(MARK + json.dumps(asdict(figure)), flush=True)


def heard(line: str) -> Figure | None:
    """The figure in a line of a benchmark's output, if there is one."""
    return Figure(**json.loads(line.removeprefix(MARK))) if line.startswith(MARK) else None


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def table(figures: Iterable[Figure]) -> str:
    """The report, as aligned text."""
    rows = [("figure", "measured", "the machine's limit", "aim", "")]
    for f in figures:
        met = {None: "", True: "met", False: "NOT MET"}[f.is_met]
        rows.append((f.name, f.value, f.limit, f.aim, met))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
