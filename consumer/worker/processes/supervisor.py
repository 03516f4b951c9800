"""Runs several processes, members of one group, as one worker: signals, health and metrics.

Each process is forked from this command after its imports, and reports once a second. The reports are kept
here, so that no request waits for a process. A frozen process is recognised by its silence.
"""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import Stop, cancel, hearing_signals
from pattern_metrics.consumer.telemetry.metric_table import RECORDS
from pattern_metrics.consumer.telemetry.metrics import Lag, Metrics
from pattern_metrics.consumer.worker.processes.fork_server import ForkServer, Life
from pattern_metrics.consumer.worker.processes.member import STOP, STOP_AT_ONCE, Report
from pattern_metrics.consumer.worker.processes.metrics_union import counts_of, unite
from pattern_metrics.schemas.backoff import backoff_seconds
from pattern_metrics.schemas.settings.timing import TIMING

logger = structlog.get_logger()

SILENCE_SECONDS: Final = 5.0
"""A process that reports nothing for this long is not ready."""

REPORT_BYTES_MAX: Final = 2**24

ENDS_MAX: Final = 5
ENDS_SECONDS: Final = 600.0
"""After more ends than this within the time, a restart is no help."""

RESTART_SECONDS_MAX: Final = 30.0

KILL_SECONDS: Final = TIMING.leave + 2.0
"""Seconds that a process may take to end after its grace time, or after the order to end at once."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The known state of a process. It is replaced as a whole, because another thread reads it.

    Attributes:
        report: the last report of its present life, if there is one.
        ended: the outcome of the records that its former lives read.
        counts: the counts of its former lives, for Prometheus.
    """

    report: Report | None = None
    ended: Accounting = field(default_factory=Accounting)
    counts: str = ""

    @property
    def accounting(self) -> Accounting:
        return self.ended + self.report.accounting if self.report else self.ended

    def after_its_end(self) -> "_Known":
        if self.report is None:
            return self
        return _Known(None, self.accounting, counts_of([self.counts, self.report.metrics]))


class Restarts:
    """Decides when a process that ended by itself is started again."""

    def __init__(self) -> None:
        self._ends = deque[float]()

    def seconds_until(self, ended_at: float) -> float | None:
        """Return the seconds to wait before the next start; None if the process has ended too often."""
        self._ends.append(ended_at)
        while ended_at - self._ends[0] > ENDS_SECONDS:
            self._ends.popleft()
        if len(self._ends) > ENDS_MAX:
            return None
        return backoff_seconds(len(self._ends), longest=RESTART_SECONDS_MAX)


class _Process:
    """One process: its present life, and the counts of its former lives."""

    def __init__(self, number: int, server: ForkServer) -> None:
        self.number = number
        self._server = server
        self.known = _Known()
        self.heard_at = time.monotonic()
        self.restarts = Restarts()
        self.can_be_started = True
        self._life: Life | None = None
        self._orders: asyncio.StreamWriter | None = None
        self._order = b""

    @property
    def obstacles(self) -> dict[str, str]:
        if self.is_silent:
            return {"process": f"has reported nothing for more than {SILENCE_SECONDS:g} s"}
        report = self.known.report
        return report.obstacles if report else {"process": "is being started"}

    @property
    def is_silent(self) -> bool:
        return self.silence_seconds > SILENCE_SECONDS

    @property
    def silence_seconds(self) -> float:
        return time.monotonic() - self.heard_at if self._life else 0.0

    async def live(self) -> int:
        """Start the process, and return its exit code when it has ended."""
        try:
            self._life = life = await self._server.fork(self.number)
        except OSError as error:  # too many files or processes, too little memory
            reason = str(error) or type(error).__name__
            logger.warning("process_not_started", process=self.number, error=reason)
            self.can_be_started = not isinstance(error, BrokenPipeError)  # which means that the server ended
            return 1
        logger.info("process_started", process=self.number, pid=life.pid)
        self.heard_at = time.monotonic()
        reports, self._orders = await asyncio.open_connection(sock=life.connection, limit=REPORT_BYTES_MAX)
        self._orders.write(self._order)
        await self._listen(reports)
        code = await life.wait()
        self._orders.close()
        self.known = self.known.after_its_end()
        self._life = self._orders = None
        return code

    async def _listen(self, reports: asyncio.StreamReader) -> None:
        try:
            while (line := await reports.readline()).endswith(
                b"\n"
            ):  # a killed process may leave half a line
                self.known = replace(self.known, report=Report.from_line(line))
                self.heard_at = time.monotonic()
        except ConnectionError:
            return

    def order(self, order: bytes) -> None:
        """Send an order. A process that is just being started gets it as soon as possible."""
        self._order = order
        if self._orders is not None and not self._orders.is_closing():  # else it is about to end
            self._orders.write(order)

    def kill(self) -> None:
        if self._life is not None:
            logger.warning("process_killed", process=self.number, hint="the process did not end in time")
            self._life.kill()


class Supervisor:
    """Starts the processes, restarts any that ends by itself, and represents them all."""

    def __init__(
        self, settings: WorkerSettings, server: ForkServer, count: int, *, until_caught_up: bool
    ) -> None:
        self._server = server
        self._processes = [_Process(number, server) for number in range(count)]
        self._until_caught_up = until_caught_up
        self._grace_seconds = settings.shutdown_grace_seconds
        self._stop = Stop(settings.shutdown_grace_seconds)
        self._metrics = Metrics()

    # Called by any thread

    @property
    def accounting(self) -> Accounting:
        """The outcome of the records that all processes read."""
        return sum((process.known.accounting for process in self._processes), Accounting())

    @property
    def obstacles(self) -> dict[str, str]:
        """The reason per component why processes are not ready, with their numbers; empty if all are."""
        found: dict[str, dict[str, list[str]]] = {}
        for process in self._processes:
            for component, why in process.obstacles.items():
                found.setdefault(component, {}).setdefault(why, []).append(str(process.number))
        return {
            component: "; ".join(f"{why} (process {', '.join(numbers)})" for why, numbers in reasons.items())
            for component, reasons in found.items()
        }

    def is_alive(self) -> bool:
        """Return whether each process has reported recently, or will be started again."""
        return all(process.silence_seconds < TIMING.pulse for process in self._processes)

    def render(self, obstacles: Mapping[str, str]) -> bytes:
        """Return the text that Prometheus reads. A silent process contributes only its counts."""
        whole, only_counts = [self._metrics.render(obstacles).decode()], list[str]()
        for process in self._processes:
            known = process.known
            only_counts.append(known.counts)
            if known.report is not None:
                (only_counts if process.is_silent else whole).append(known.report.metrics)
        return unite(whole, only_counts)

    def lags(self) -> dict[Partition, Lag]:
        """Return the lag of each partition, as far as it is known."""
        return {
            (topic, partition): Lag(offsets, seconds)
            for report in self._reports()
            for topic, partition, offsets, seconds in report.lags
        }

    def clock_difference(self) -> float | None:
        """Return the seconds by which PostgreSQL's clock is ahead; None before the first comparison."""
        known = (report.clock_difference for report in self._reports())
        return next((seconds for seconds in known if seconds is not None), None)

    def _reports(self) -> list[Report]:
        """Return the last report of each process that is not silent."""
        known = [process.known.report for process in self._processes if not process.is_silent]
        return [report for report in known if report is not None]

    def outcomes(self) -> dict[str, int]:
        """Return the number of records that were read and written so far, by outcome."""
        total = self.accounting
        counts = (total.applied, total.superseded, total.dead_letters)
        return dict(zip(RECORDS.labels["outcome"], counts, strict=True))

    # The work

    async def run(self) -> bool:
        """Run the processes until a signal, until all are caught up, or until one cannot be restarted.

        Returns:
            Whether all ended as expected.
        """
        logger.info("supervisor_started", processes=len(self._processes))
        watching = asyncio.create_task(self._watch_server())
        with hearing_signals(self._request_stop, self._stop_at_once):
            fates = await asyncio.gather(*map(self._keep, self._processes))
        await cancel(watching)
        logger.info("supervisor_stopped", **self.accounting.as_dict())
        return all(fates)

    async def _watch_server(self) -> None:
        await self._server.wait()
        hint = "a process that ends cannot be started again: restart the worker"
        logger.error("fork_server_ended", hint=hint)

    async def _keep(self, process: _Process) -> bool:
        while not self._stop.is_requested:
            code = await process.live()
            is_last_life = self._until_caught_up or self._stop.is_requested
            if is_last_life and code == 0:
                return True
            logger.error("process_ended", process=process.number, reason=_reason(code))
            ended_for_good = is_last_life or not process.can_be_started
            seconds = None if ended_for_good else process.restarts.seconds_until(time.monotonic())
            if seconds is None:
                self._request_stop()
                return False
            await self._stop.interrupt(asyncio.sleep(seconds))
        return True

    def _request_stop(self) -> None:
        self._stop.request()
        self._order_all(STOP, self._grace_seconds)

    def _stop_at_once(self) -> None:
        self._order_all(STOP_AT_ONCE, 0)

    def _order_all(self, order: bytes, grace_seconds: float) -> None:
        for process in self._processes:
            process.order(order)
            asyncio.get_running_loop().call_later(grace_seconds + KILL_SECONDS, process.kill)


def _reason(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
