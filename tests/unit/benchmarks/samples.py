"""Runs with plain figures."""

from benchmarks.results import Latency, Run


def a_run(
    system: str = "pattern-metrics",
    seconds: float = 2.0,
    *,
    scenario: str = "hot",
    repetition: int = 1,
    variant: str = "",
    latency: Latency | None = None,
) -> Run:
    """Return a run of a thousand events."""
    return Run(
        scenario,
        variant,
        system,
        repetition,
        1000,
        seconds=seconds,
        seconds_with_start=seconds + 1,
        cpu_client=0.5,
        cpu_client_with_start=0.75,
        cpu_postgres=0.25,
        cpu_kafka=0.1,
        peak_bytes=100_000_000,
        wal_bytes=500_000,
        latency=latency,
    )


SETTING = {
    "measured": "2026-01-01",
    "machine": {"processor": "<fast> & small", "cores": 2, "memory_gigabytes": 16, "system": "Linux 6.1"},
    "versions": {"Python": "3.11"},
    "configuration": {
        "events": 1000,
        "compression": "lz4",
        "postgresql": {"fsync": "on"},
        "kafka": {"a": "b"},
        "debezium": {"c": "d"},
    },
}
