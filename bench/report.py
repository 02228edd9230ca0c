"""Rows, targets, and the page they make. One table, on the screen as in the file."""

from dataclasses import dataclass, field

from bench.load import Figures

HEAD = ("measure", "of", "result", "p50 ms", "p99 ms", "p99.9 ms", "target")


@dataclass
class Row:
    """One line of the table. `result` with its unit; `checks` are sentences that begin with pass or FAIL."""

    measure: str
    of: str
    result: str
    figures: Figures | None = None
    checks: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        times = ("", "", "")
        if self.figures:
            times = tuple(_ms(ms) for ms in (self.figures.p50_ms, self.figures.p99_ms, self.figures.p999_ms))
        return (self.measure, self.of, self.result, *times, "; ".join(self.checks))

    def check(self, is_met: bool, said: str) -> None:
        self.checks.append(f"{'pass' if is_met else 'FAIL'}: {said}")

    def at_least(self, value: float, least: float, against: str, *, percent: bool = False) -> None:
        """Beside the row: a ratio, and whether it is as high as it should be."""
        if percent:
            self.check(value >= least, f"{value:.0%} of {against} (at least {least:.0%})")
        else:
            self.check(value >= least, f"{value:.1f} times {against} (at least {least:g})")

    def at_most(self, value: float, most: float, unit: str) -> None:
        self.check(value <= most, f"{value:.3g} {unit} (at most {most:g})")


class Report:
    """The rows, in the order in which they were measured."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, measure: str, of: str, result: str) -> Row:
        row = Row(measure, of, result)
        self.rows.append(row)
        return row

    def add_rate(self, measure: str, of: str, figures: Figures, unit: str = "events/s") -> Row:
        row = self.add(measure, of, f"{rate(figures.per_second)} {unit}")
        row.figures = figures
        if figures.refused:
            row.result += f", {figures.refused} refused"
        return row

    def missed(self) -> int:
        return sum(check.startswith("FAIL") for row in self.rows for check in row.checks)

    def table(self) -> str:
        """The rows as a Markdown table whose columns also stand straight in a terminal."""
        lines = [HEAD, *(row.cells() for row in self.rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
        rows = [
            "| " + " | ".join(cell.ljust(widths[place]) for place, cell in enumerate(line)) + " |" for line in lines
        ]
        rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(rows) + "\n"


def rate(per_second: float) -> str:
    """Three digits that matter, with commas."""
    digits = max(0, len(f"{per_second:.0f}") - 3)
    return f"{round(per_second, -digits):,.0f}"


def _ms(ms: float) -> str:
    return f"{ms:.2f}" if ms < 10 else f"{ms:.0f}"
