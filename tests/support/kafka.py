"""Brokers for tests: the embedded one, Apache Kafka itself, or one that is running already."""

import base64
import fcntl
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumer.embedded import HOST, EmbeddedBroker, EmbeddedServer, free_port, kafka_answers
from tests.support.waiting import eventually

_POM = Path(__file__).with_name("kafka_pom.xml")
_CACHE = Path(__file__).parents[2] / ".cache" / "kafka-4.4.0"


@dataclass(frozen=True)
class Broker:
    """A broker that tests share: each takes topics and groups of its own."""

    name: str  # embedded, apache or external
    bootstrap_servers: str


class Detour(NamedTuple):
    """A listener behind a proxy: whoever begins with the advertised port stays with it."""

    port: int
    advertised_port: int


class ApacheKafka(EmbeddedServer):
    """Apache Kafka 4.4.0, one node in KRaft mode; keeps its data over a restart.

    Args:
        detours: how many listeners it has that advertise the port of a proxy.
    """

    def __init__(self, detours: int = 0) -> None:
        super().__init__()
        self.detours = [Detour(free_port(), free_port()) for _ in range(detours)]
        self._libraries = _libraries()
        self._controller_port = 0
        self._cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    def _prepare(self) -> None:
        self._controller_port = free_port()
        properties = "".join(f"{name}={value}\n" for name, value in self._properties().items())
        self._properties_file.write_text(properties)
        # With an equals sign: the id may begin with a dash.
        options = [f"--cluster-id={self._cluster_id}", "--standalone", f"--config={self._properties_file}"]
        self._run(self._java("kafka.tools.StorageTool", "format", *options))

    def _command(self) -> Sequence[str | Path]:
        return [*self._java("kafka.Kafka"), self._properties_file]

    def _is_ready(self) -> bool:
        return kafka_answers(self.port, self._cluster_id)

    @property
    def _properties_file(self) -> Path:
        return self.directory / "server.properties"

    def _java(self, main_class: str, *arguments: str) -> list[str | Path]:
        java = shutil.which("java") or "java"
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return [java, *options, "-cp", f"{self._libraries}/*", main_class, *arguments]

    def _properties(self) -> dict[str, str]:
        controller = f"{HOST}:{self._controller_port}"
        names = {detour: f"DETOUR{number}" for number, detour in enumerate(self.detours)}
        client_listener = f"PLAINTEXT://{self.bootstrap_servers}"
        listeners = [client_listener, *(f"{name}://{HOST}:{detour.port}" for detour, name in names.items())]
        advertised = [
            client_listener,
            *(f"{name}://{HOST}:{detour.advertised_port}" for detour, name in names.items()),
        ]
        protocols = ("PLAINTEXT", "CONTROLLER", *names.values())
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": controller,
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join([*listeners, f"CONTROLLER://{controller}"]),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in protocols),
            "log.dirs": str(self.directory / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # After a crash it cannot come back before the session of the dead one has ended (9 s by default).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "5",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
        }


def _libraries() -> Path:
    """The directory of Kafka's jars, which the first run brings from Maven Central."""
    libraries = _CACHE / "libs"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may begin at the same moment
        if not libraries.exists():
            unfinished = _CACHE / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            arguments = ["-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={unfinished}"]
            subprocess.run(["mvn", "--quiet", "--batch-mode", *arguments], check=True)
            unfinished.rename(libraries)
    return libraries


def _skip_without_java() -> None:
    lacking = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if not lacking:
        return
    reason = f"Apache Kafka needs {' and '.join(lacking)}"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI no ring may be left out")
    pytest.skip(reason)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "broker" in metafunc.fixturenames:
        choice = metafunc.config.getoption("--kafka")
        brokers = ["embedded", "apache"] if choice == "auto" else [choice]
        metafunc.parametrize("broker", brokers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as server:
        yield server


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    _skip_without_java()
    with ApacheKafka() as server:
        yield server


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker that `--kafka` names, one after the other."""
    match request.param:
        case "embedded":
            return Broker("embedded", request.getfixturevalue("embedded_broker").bootstrap_servers)
        case "apache":
            return Broker("apache", request.getfixturevalue("apache_kafka").bootstrap_servers)
        case address:
            return Broker("external", address)


def require_own_apache_kafka(request: pytest.FixtureRequest) -> None:
    """Skip, or in CI fail, where an Apache Kafka cannot be brought up, or may not by `--kafka`."""
    if request.config.getoption("--kafka") not in {"auto", "apache"}:
        pytest.skip("needs an Apache Kafka of its own: --kafka=apache")
    _skip_without_java()


@pytest.fixture(scope="module")
def module_apache_kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    require_own_apache_kafka(request)
    with ApacheKafka() as server:
        yield server


@pytest.fixture
def own_apache_kafka(module_apache_kafka: ApacheKafka) -> ApacheKafka:
    """A running Apache Kafka that the test may stop and kill: no other module's."""
    module_apache_kafka.start()
    return module_apache_kafka


async def create_topic(bootstrap_servers: str, partitions: int = 3) -> str:
    """Create a topic under a new name, and wait until each of its partitions has a leader."""
    name = f"test-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])

        async def has_leaders() -> bool:
            [topic] = await admin.describe_topics([name])
            leaders = [partition["leader"] for partition in topic["partitions"]]
            return len(leaders) == partitions and all(leader >= 0 for leader in leaders)

        await eventually(has_leaders)
    finally:
        await admin.close()
    return name


@pytest.fixture
async def topic(broker: Broker) -> str:
    """A new topic of three partitions."""
    return await create_topic(broker.bootstrap_servers)
