"""What a suite hands back, and how it is shown: a table for people, JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Figure = float | int | str | None
"""A figure's unit is the end of its name: `p99_ms`, `cpu_us_per_delivery`, `rss_kib_per_player`."""

CLIENT_BUSY_SHARE_MAX: Final = 0.9
"""Above this share of a core the client may be what was measured."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise of this project, and what was measured of it."""

    promise: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{'met   ' if self.met else 'MISSED'} {self.promise}: {self.measured:.3g} (bar: {sign} {self.limit:g})"


@dataclass(slots=True)
class Result:
    """One suite's outcome.

    `faults` are broken promises of correctness (something lost, somebody refused): they make the exit code 1.
    `warnings` say why the figures may not mean what they seem to.
    """

    suite: str
    settings: Mapping[str, Figure]
    records: Sequence[Mapping[str, Figure]]
    bars: list[Bar] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def warn_if_client_was_busy(self, share: float, when: str) -> None:
        """`share` is the client's CPU seconds per wall second."""
        if share > CLIENT_BUSY_SHARE_MAX:
            self.warnings.append(f"{when}: the client used {share:.0%} of a core; it may be what was measured")


def as_json(results: Sequence[Result], machine: Mapping[str, str | int], command: str) -> dict[str, Any]:
    return {
        "command": command,
        "machine": dict(machine),
        "suites": [
            {
                "suite": result.suite,
                "settings": dict(result.settings),
                "records": [dict(record) for record in result.records],
                "bars": [
                    {"promise": bar.promise, "measured": bar.measured, "limit": bar.limit, "met": bar.met}
                    for bar in result.bars
                ],
                "faults": result.faults,
                "warnings": result.warnings,
            }
            for result in results
        ],
    }


def as_text(result: Result) -> str:
    """A heading, the records (one: a list; several: a table), then bars, faults and warnings."""
    settings = ", ".join(f"{name}={value}" for name, value in result.settings.items())
    lines = [f"== {result.suite} ({settings})"]
    lines += _list(result.records[0]) if len(result.records) == 1 else _table(result.records)
    lines += [f"  {bar}" for bar in result.bars]
    lines += [f"  FAULT: {fault}" for fault in result.faults]
    lines += [f"  warning: {warning}" for warning in result.warnings]
    return "\n".join(lines)


def _shown(figure: Figure) -> str:
    match figure:
        case None:
            return "-"
        case int():
            return f"{figure:,}"
        case float():
            return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"
        case str():
            return figure


def _list(record: Mapping[str, Figure]) -> list[str]:
    width = max(map(len, record))
    return [f"  {name:<{width}}  {_shown(figure):>10}" for name, figure in record.items()]


def _table(records: Sequence[Mapping[str, Figure]]) -> list[str]:
    columns = list(dict.fromkeys(name for record in records for name in record))
    rows = [columns] + [[_shown(record.get(name)) for name in columns] for record in records]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    return [
        "  " + "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]  # fmt: skip
