"""Kafka Connect with Debezium's JDBC sink, in the fastest configuration that we found."""

import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from benchmarks.clients import Client, Consuming, Job
from benchmarks.peers import connect_libraries, debezium_plugin
from benchmarks.processes import cpu_seconds
from benchmarks.programs import ProgramError
from pattern_metrics.consumer.demo.embedded import HOST, EmbeddedServer

_CREATED: Final = 201

# The options with which Kafka's own script starts a worker.
_JAVA_OPTIONS: Final = (
    "-Xms256M",
    "-Xmx2G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

_SCHEMA: Final = {
    "type": "struct",
    "fields": [
        {"field": "event_id", "type": "string", "name": "io.debezium.data.Uuid"},
        {"field": "pattern_id", "type": "string", "name": "io.debezium.data.Uuid"},
        {"field": "quality_score", "type": "double"},
        {"field": "confidence", "type": "double"},
        {"field": "measurement_timestamp", "type": "string", "name": "io.debezium.time.ZonedTimestamp"},
        {"field": "version", "type": "string"},
        {"field": "metadata", "type": "string", "name": "io.debezium.data.Json"},
    ],
}


def batch_of(records: int) -> tuple[tuple[str, str], ...]:
    """Return the settings for that many records per poll and per batch."""
    return ("batch.size", str(records)), ("consumer.override.max.poll.records", str(records))


DEFAULTS: Final[Mapping[str, str]] = {"tasks.max": "1"}

TUNED: Final[Mapping[str, str]] = {
    "tasks.max": "2",
    "dialect.postgres.unnest.insert.enabled": "true",
    "use.reduction.buffer": "true",
    **dict(batch_of(2000)),
    "consumer.override.max.partition.fetch.bytes": "10485760",
}


class ConnectWorker(EmbeddedServer):
    """Kafka Connect, standalone, with the plugin. The process ends when ours does."""

    def __init__(self, bootstrap_servers: str) -> None:
        super().__init__()
        self._bootstrap_servers = bootstrap_servers
        self._libraries = connect_libraries()
        self._plugin = debezium_plugin()

    def _prepare(self) -> None:
        properties = {
            "bootstrap.servers": self._bootstrap_servers,
            "listeners": f"http://{HOST}:{self.port}",
            "plugin.path": self._plugin.parent,
            "plugin.discovery": "service_load",
            "offset.storage.file.filename": self.directory / "offsets",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        }
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        self._properties_file.write_text(text)

    @property
    def _properties_file(self) -> Path:
        return self.directory / "connect.properties"

    def _command(self) -> Sequence[str | Path]:
        java = shutil.which("java") or "java"
        main_class = "org.apache.kafka.connect.cli.ConnectStandalone"
        return [java, *_JAVA_OPTIONS, "-cp", f"{self._libraries}/*", main_class, self._properties_file]

    def _is_ready(self) -> bool:
        try:
            status, _ = self.request("GET", "/connectors")
        except (OSError, HTTPException):
            return False
        return status < 300  # noqa: PLR2004 - a success

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request to its REST interface. Return the status and the JSON of the response."""
        connection = HTTPConnection(HOST, self.port, timeout=60)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.headers.get_content_type() == "application/json" and text
            return answer.status, json.loads(text) if is_json else None
        finally:
            connection.close()


def connector(job: Job, tuning: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration of the sink."""
    url = urlsplit(job.dsn)
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "topics": job.topic.name,
        "connection.url": f"jdbc:postgresql://{url.hostname}:{url.port}{url.path}",
        "connection.username": url.username or "",
        "connection.password": "",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "pattern_id",
        "collection.name.format": "pattern_quality_metrics",
        "schema.evolution": "none",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schema.content": json.dumps(_SCHEMA),
        "header.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "consumer.override.group.id": job.group,
        **tuning,
        **job.settings,
    }


class _Debezium(Client):
    """Debezium's sink. The subclasses differ in the JVM or the settings."""

    encoding = "text"
    tuning: ClassVar[Mapping[str, str]] = TUNED

    def __init__(self) -> None:
        self._worker: ConnectWorker | None = None

    def install(self) -> None:
        connect_libraries()
        debezium_plugin()

    @asynccontextmanager
    async def consuming(self, job: Job) -> AsyncIterator[Consuming]:
        started = time.monotonic()
        if self._worker is None:
            with ConnectWorker(job.bootstrap_servers) as worker:
                async with self._connected(worker, job, started, 0.0) as consuming:
                    yield consuming
        else:
            cpu_before = cpu_seconds(self._worker.pid)
            async with self._connected(self._worker, job, started, cpu_before) as consuming:
                yield consuming

    @asynccontextmanager
    async def _connected(
        self, worker: ConnectWorker, job: Job, started: float, cpu_before: float
    ) -> AsyncIterator[Consuming]:
        name = job.group
        status, answer = worker.request(
            "POST", "/connectors", {"name": name, "config": connector(job, self.tuning)}
        )
        if status != _CREATED:
            raise ProgramError(f"Connect refused the connector: {answer}")

        def check() -> None:
            _, state = worker.request("GET", f"/connectors/{name}/status")
            failures = [task["trace"] for task in state["tasks"] if task["state"] == "FAILED"]
            if failures:
                raise ProgramError(f"a task of the connector failed:\n{failures[0]}")

        try:
            yield Consuming(started, [worker.pid], cpu_before, check, check)
        finally:
            worker.request("DELETE", f"/connectors/{name}")


class ColdDebezium(_Debezium):
    """Debezium in a JVM that is started for the measurement."""

    name = "debezium-cold"


class WarmDebezium(_Debezium):
    """Debezium in a JVM that has done the same work before."""

    name = "debezium-warm"

    @asynccontextmanager
    async def prepared(
        self, bootstrap_servers: str, rehearse: Callable[[Client], Awaitable[None]]
    ) -> AsyncIterator[None]:
        with ConnectWorker(bootstrap_servers) as self._worker:
            await rehearse(self)
            yield


class DefaultDebezium(WarmDebezium):
    """Debezium in a warm JVM, with its own defaults."""

    name = "debezium-defaults"
    tuning = DEFAULTS
