"""Draws the results as an SVG chart that is readable on light and on dark backgrounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from benchmarks.clients import OURS
from benchmarks.limit import LIMITS
from benchmarks.results import Run, Summary, summarise
from benchmarks.scenarios import Scenario

CHARTED: Final = ("hot", "distinct", "update")
"""The scenarios whose throughput fits one scale."""

_WIDTH, _LABEL, _BAR, _FULL = 760, 150, 160, 470  # of the bars: left edge, longest
_LINE, _HEIGHT, _TITLE = 24, 16, 40

_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.ours { fill: #1a7f64 } .peer { fill: #8c959f } .limit { fill: none; stroke: #8c959f; stroke-dasharray: 4 3 }
.spread { stroke: #24292f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ours { fill: #3fb68b } .peer { fill: #6e7681 } .limit { stroke: #6e7681 }
  .spread { stroke: #e6edf3 }
}
"""


@dataclass(frozen=True)
class _Scale:
    most: float

    def __call__(self, rate: float) -> float:
        return round(rate / self.most * _FULL, 1)


def chart(scenarios: Sequence[Scenario], runs: Sequence[Run]) -> str:
    """Return bars of events a second. A line at the end of each bar shows the spread."""
    panels = [
        (scenario.title, summarise(run for run in runs if run.scenario == scenario.name))
        for scenario in scenarios
        if scenario.name in CHARTED
    ]
    panels = [(title, summaries) for title, summaries in panels if summaries]
    scale = _Scale(max((summary.fastest for _, summaries in panels for summary in summaries), default=1))
    drawn, top = [], 0
    for title, summaries in panels:
        drawn.append(f'<text class="title" x="10" y="{top + 24}">{escape(title)}, events a second</text>')
        top += _TITLE
        for summary in sorted(summaries, key=lambda summary: -summary.rate):
            drawn += _bar(summary, scale, top)
            top += _LINE
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 16}" role="img" '
        f'aria-label="Events a second by system"><style>{_STYLE}</style>\n{body}\n</svg>\n'
    )


def _bar(summary: Summary, scale: _Scale, top: int) -> list[str]:
    middle, end = top + _HEIGHT / 2, _BAR + scale(summary.fastest) + 8
    least, most = _BAR + scale(summary.slowest), _BAR + scale(summary.fastest)
    return [
        f'<text x="{_LABEL}" y="{top + 13}" text-anchor="end">{escape(summary.system)}</text>',
        f'<rect class="{_kind(summary.system)}" x="{_BAR}" y="{top}" width="{scale(summary.rate)}" '
        f'height="{_HEIGHT}"/>',
        f'<line class="spread" x1="{least}" x2="{most}" y1="{middle}" y2="{middle}"/>',
        f'<text x="{end}" y="{top + 13}">{summary.rate:,.0f}</text>',
    ]


def _kind(system: str) -> str:
    if system in OURS:
        return "ours"
    return "limit" if system in LIMITS else "peer"
