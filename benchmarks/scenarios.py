"""The scenarios: each is a list of works, and the systems that do them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.clients import OURS, Client, Naive, Ours, OursInTwo, Quix
from benchmarks.connect import ColdDebezium, DefaultDebezium, WarmDebezium, batch_of
from benchmarks.events import HOT_PATTERNS, Shape
from benchmarks.limit import LIMITS
from benchmarks.readers import PATTERNS
from benchmarks.services import LARGE_BUFFERS
from benchmarks.spellings import MIXED, SPELLINGS

CLIENTS: Final[dict[str, type[Client]]] = {
    client.name: client
    for client in (Ours, OursInTwo, Naive, Quix, DefaultDebezium, ColdDebezium, WarmDebezium)
}

SYSTEMS: Final = (*CLIENTS, *LIMITS)
"""All compared systems, by name."""

_OURS: Final = (Ours.name,)
_TWO: Final = (Ours.name, WarmDebezium.name)
_ONE_OF_EACH: Final = (*OURS, Naive.name, Quix.name, WarmDebezium.name)


@dataclass(frozen=True)
class Size:
    """The amount of work.

    Attributes:
        events: number of events in a topic.
        sample: number of events for slow systems.
        growth: rows that the table has before; multiples of the least.
        rates: event rates at which latency is measured, in events a second.
        samples: number of latency samples.
        batch_sizes: for our worker.
        peer_batch_sizes: for the fastest peer.
        repetitions: the number of repetitions of each run.
        is_quick: whether the runs only show that everything works. No figure is then for comparison, and the
            peers run only *hot*, and not in all their variants.
    """

    events: int
    sample: int
    growth: Sequence[int]
    rates: Sequence[int]
    samples: int
    batch_sizes: Sequence[int]
    peer_batch_sizes: Sequence[int]
    repetitions: int
    is_quick: bool = False


FULL: Final = Size(
    events=300_000,
    sample=20_000,
    growth=(10_000, 100_000, 1_000_000, 5_000_000),
    rates=(100, 5_000),
    samples=200,
    batch_sizes=(100, 1_000, 5_000, 10_000, 20_000),
    peer_batch_sizes=(500, 2_000, 10_000),
    repetitions=3,
)

QUICK: Final = Size(
    events=20_000,
    sample=2_000,
    growth=(20_000,),
    rates=(100,),
    samples=30,
    batch_sizes=(1_000,),
    peer_batch_sizes=(),
    repetitions=1,
    is_quick=True,
)


@dataclass(frozen=True)
class Variant:
    """One work of a scenario, without its topic.

    Attributes:
        name: the property that varies.
        shape: the shape of the topic.
        rows: number of rows in the table before.
        is_replay: whether the topic is in the table already.
        settings: settings of the client that differ from those of the other scenarios.
        workers: number of processes that share the work.
        lookups: lookups of the table a second, by HTTP.
        rate: for latency, the number of other events a second.
        has_large_buffers: whether PostgreSQL has large buffers (`services.LARGE_BUFFERS`).
    """

    name: str
    shape: Shape
    rows: int = 0
    is_replay: bool = False
    settings: tuple[tuple[str, str], ...] = ()
    workers: int = 1
    lookups: int = 0
    rate: int = 0
    has_large_buffers: bool = False


@dataclass(frozen=True)
class Scenario:
    """A list of works.

    Attributes:
        name: for the command line and the table.
        title: for a person.
        systems: the systems that do the works.
        variants: the works.
    """

    name: str
    title: str
    systems: Sequence[str]
    variants: Sequence[Variant]


def scenarios(size: Size) -> list[Scenario]:
    """Return all scenarios, in the order of the report."""
    everybody = _ONE_OF_EACH if size.is_quick else tuple(CLIENTS)
    beyond, few, two = (_OURS, _OURS, _OURS) if size.is_quick else (everybody, _ONE_OF_EACH, _TWO)
    few_rows = min(size.growth)
    hot = Shape("hot", size.events, HOT_PATTERNS, spelling=MIXED)
    distinct = Shape("distinct", size.events, spelling=MIXED)
    large_buffers = ", ".join(f"{name} {value}" for name, value in LARGE_BUFFERS.items())
    growth = [
        Variant(
            f"{rows:,} rows",
            Shape(f"growth-{rows}", size.events, few_rows, is_growing=True, stride=rows // few_rows),
            rows=rows,
        )
        for rows in size.growth
    ]
    spread = [
        Variant(f"{rows:,} rows", Shape(f"spread-{rows}", size.events, rows, is_growing=True), rows=rows)
        for rows in size.growth
    ]
    return [
        Scenario(
            "hot",
            f"Hot: the events are about {HOT_PATTERNS:,} patterns",
            everybody,
            [Variant("", hot)],
        ),
        Scenario(
            "distinct",
            "Distinct: every event is about its own pattern",
            (*beyond, *LIMITS),
            [Variant("", distinct)],
        ),
        Scenario(
            "spellings",
            "Spellings: hot, as the serializers of several languages write the events",
            _OURS if size.is_quick else (*OURS, WarmDebezium.name),
            [
                Variant(spelling, replace(hot, name=f"hot-{spelling}", spelling=spelling))
                for spelling in ("own", *SPELLINGS)
            ],
        ),
        Scenario(
            "update",
            "Update: every event is newer than its pattern's row",
            beyond,
            [Variant("", distinct, rows=size.events)],
        ),
        Scenario(
            "replay",
            "Replay: a topic that is in the table already is read again",
            beyond,
            [Variant("", distinct, is_replay=True)],
        ),
        Scenario(
            "latency",
            "Latency: a lone record amid others",
            few,
            [
                Variant(
                    f"{rate:,} events/s", Shape("latency", min(size.events, 20_000), HOT_PATTERNS), rate=rate
                )
                for rate in size.rates
            ],
        ),
        Scenario(
            "growth",
            f"Growth: half of the events are new patterns, half are about {few_rows:,} rows of the table",
            (*two, "postgresql-upsert-1"),
            growth,
        ),
        Scenario(
            "spread",
            "Spread: the same, but the more rows the table has, the more are updated",
            (*two, "postgresql-upsert-1"),
            spread,
        ),
        Scenario(
            "buffers",
            f"Buffers: growth and spread, with {large_buffers}",
            (*_OURS, "postgresql-upsert-1"),
            [
                replace(variant, name=f"{name}, {variant.name}", has_large_buffers=True)
                for name, variants in (("growth", growth), ("spread", spread))
                for variant in variants
                if variant.rows in (few_rows, max(size.growth))
            ],
        ),
        Scenario(
            "workers",
            "Workers: processes that share one topic",
            _OURS,
            [
                Variant(f"{shape.name}, {workers}", shape, workers=workers)
                for shape in (hot, distinct)
                for workers in (1, 2)
            ],
        ),
        Scenario(
            "readers",
            f"Readers: hot, while a dashboard answers lookups of {PATTERNS} patterns",
            _OURS,
            [
                Variant(f"{lookups} lookups/s", hot, lookups=lookups)
                for lookups in ((200,) if size.is_quick else (0, 200))
            ],
        ),
        Scenario(
            "batch",
            "Batch: BATCH_MAX_RECORDS",
            _OURS,
            [
                Variant(f"{shape.name}, {records:,}", shape, settings=(("BATCH_MAX_RECORDS", str(records)),))
                for shape in (hot, distinct)
                for records in size.batch_sizes
            ],
        ),
        Scenario(
            "peer",
            "The fastest peer: its batch size, and that of its polls",
            (WarmDebezium.name,),
            [
                Variant(f"{shape.name}, {records:,}", shape, settings=batch_of(records))
                for shape in (hot, distinct)
                for records in size.peer_batch_sizes
            ],
        ),
    ]
