"""The scenario `gateway`: events over HTTP, by turns with a publisher, and the gateway's memory."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmarks.processes import cpu_seconds, peak_bytes
from benchmarks.progress import show
from benchmarks.publishing import OURS, PublisherBench, table
from benchmarks.publishing_program import contents
from benchmarks.report import machine_text
from benchmarks.setting import machine
from pattern_metrics import BlockingScorePublisher
from pattern_metrics.consumer.demo.embedded import HOST, free_port
from pattern_metrics.schemas.pattern_scored import parse_event
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.kafka import ApacheKafka, create_topic

SCENARIO: Final = "gateway"

_BATCH: Final = 500
_CLIENTS: Final = 64
_BATCHES_OF_A_CLIENT: Final = 5
_BOMB_BYTES: Final = 256 * 1024 * 1024
_MEGA: Final = 1e6
_MILLI: Final = 1e3


def measure(directory: Path, *, is_quick: bool) -> None:
    """Measure, and write `gateway.md`."""
    load = os.getloadavg()[0]
    events, repetitions, lone = (5_000, 1, 50) if is_quick else (50_000, 3, 500)
    with tempfile.TemporaryDirectory(dir=directory) as scratch, ApacheKafka() as kafka:
        publishers = PublisherBench(kafka.bootstrap_servers, Path(scratch), events, repetitions)
        bench = _GatewayBench(kafka.bootstrap_servers, publishers, events, repetitions, lone)
        page = "\n".join(
            (
                "# Gateway\n",
                f"Measured on {datetime.now(UTC).date()}: {machine_text(machine())}; client, gateway and "
                f"broker share them. Load average of the minute before: {load:.1f}. A rate is the median of "
                f"{repetitions} runs by turns. How it is measured: "
                "[docs/how-to/benchmark.md](../../docs/how-to/benchmark.md#gateway).\n",
                f"## Reach: {events:,} events, each acknowledged by Kafka\n",
                bench.reach(),
                f"## A lone event: {lone:,} of them, one after the other\n",
                bench.lone(),
                "## Memory of the gateway\n",
                bench.memory(),
            )
        )
    (directory / "gateway.md").write_text(page, encoding="utf-8")
    sys.stdout.write(page)


class _GatewayBench:
    def __init__(
        self, bootstrap: str, publishers: PublisherBench, events: int, repetitions: int, lone: int
    ) -> None:
        self._bootstrap = bootstrap
        self._publishers = publishers
        self._repetitions = repetitions
        self._lone = lone
        self._events = events
        rest = contents(events)
        self._bodies = [json.dumps(list(islice(rest, _BATCH))).encode() for _ in range(events // _BATCH)]

    def reach(self) -> str:
        """Return the table of a publisher, and of one blocking client of the gateway."""
        alone, through, costs = list[float](), list[float](), list[float]()
        for _ in range(self._repetitions):
            alone.append(self._published())
            with self._running() as (http, pid, _):
                _post(http, self._bodies[0])
                cpu, began = cpu_seconds(pid), time.monotonic()
                for body in self._bodies:
                    _post(http, body)
                through.append(self._events / (time.monotonic() - began))
                costs.append((cpu_seconds(pid) - cpu) / self._events)
            show(f"alone {alone[-1]:,.0f} events/s, through the gateway {through[-1]:,.0f}")
        ratio = median(ours / theirs for ours, theirs in zip(through, alone, strict=True))
        rows = [
            ("publish_many of a publisher", f"{median(alone):,.0f}", ""),
            (
                f"one blocking client of the gateway, {_BATCH} a request",
                f"{median(through):,.0f}",
                f"{median(costs) * _MEGA:,.1f}",
            ),
            ("ratio", f"{ratio:.2f}", ""),
        ]
        return table(("work", "events/s", "CPU µs/event of the gateway"), rows)

    def lone(self) -> str:
        """Return the table of the times of a lone event with its acknowledgement, by turns with a publisher.

        A request whose event is refused shows what the machine takes for an answer without Kafka.
        """
        times: dict[str, list[float]] = {name: [] for name in ("gateway", "publisher", "refused")}

        def timed(name: str, action: Callable[[], object]) -> None:
            began = time.monotonic()
            action()
            times[name].append(time.monotonic() - began)

        with self._running() as (http, _, settings), BlockingScorePublisher(settings) as publisher:
            for event in contents(self._lone + 1):
                body = json.dumps(event).encode()
                parsed = parse_event(body, accepted_until=datetime.now(UTC))
                timed("gateway", partial(_post, http, body))
                timed("publisher", partial(publisher.publish, parsed))
                timed("refused", partial(_post, http, b"{}", expected=HTTPStatus.UNPROCESSABLE_ENTITY))
        rows = list[tuple[str, str, str]]()
        for name, work in (
            ("gateway", "a request with one event to the gateway"),
            ("publisher", "publish of a publisher"),
            ("refused", "a request that the gateway refuses, without Kafka"),
        ):
            percentiles = quantiles(times[name][1:], n=100)
            rows.append((work, f"{percentiles[49] * _MILLI:.1f}", f"{percentiles[98] * _MILLI:.1f}"))
        return table(("work", "median ms", "p99 ms"), rows)

    def memory(self) -> str:
        """Return the table of the peaks: at rest, under many clients, and under gzip bombs at once."""
        bomb = gzip.compress(bytes(_BOMB_BYTES))
        rows = list[tuple[str, str]]()
        with self._running() as (http, pid, _), ThreadPoolExecutor(_CLIENTS) as clients:

            def peak(work: str) -> None:
                rows.append((work, f"{peak_bytes(pid, processes=1) / _MEGA:,.0f}"))

            def publish(_: int) -> None:
                with closing(HTTPConnection(HOST, http.port)) as own:
                    for body in self._bodies[:_BATCHES_OF_A_CLIENT]:
                        _post(own, body)

            def explode(_: int) -> None:
                with closing(HTTPConnection(HOST, http.port)) as own:
                    _post(own, bomb, {"Content-Encoding": "gzip"}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

            _post(http, self._bodies[0])
            peak("one request")
            list(clients.map(publish, range(_CLIENTS)))
            peak(f"{_CLIENTS} clients, {_BATCH} events a request")
            list(clients.map(explode, range(_CLIENTS)))
            peak(f"{_CLIENTS} gzip bombs at once, {len(bomb):,} bytes for {_BOMB_BYTES:,}")
        return table(("after", "peak MB"), rows)

    def _published(self) -> float:
        topic = asyncio.run(create_topic(self._bootstrap))
        return float(self._publishers.run(OURS, "many", topic, self._events, "")["rate"])

    @contextmanager
    def _running(self) -> Iterator[tuple[HTTPConnection, int, KafkaSettings]]:
        """Run a gateway to a new topic. Yield a connection to it, its process id, and its settings."""
        port, topic = free_port(), asyncio.run(create_topic(self._bootstrap))
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": self._bootstrap,
            "KAFKA_TOPIC": topic,
            "HTTP_PORT": str(port),
            "LOG_LEVEL": "WARNING",
        }
        command: list[str | Path] = [Path(sys.executable).with_name("pattern-metrics"), "gateway"]
        with subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout is not None  # noqa: S101
            process.stdout.readline()  # it prints its address once it is connected
            try:
                with closing(HTTPConnection(HOST, port)) as http:
                    yield (
                        http,
                        process.pid,
                        KafkaSettings(kafka_bootstrap_servers=self._bootstrap, kafka_topic=topic),
                    )
            finally:
                process.terminate()


def _post(
    http: HTTPConnection,
    body: bytes,
    headers: dict[str, str] | None = None,
    expected: HTTPStatus = HTTPStatus.OK,
) -> None:
    http.request("POST", "/v1/scores", body, {"Content-Type": "application/json", **(headers or {})})
    response = http.getresponse()
    answer = response.read()
    if response.status != expected:
        raise RuntimeError(f"{response.status}: {answer[:200]!r}")
