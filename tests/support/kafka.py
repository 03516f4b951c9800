"""Brokers for tests: the embedded one, Apache Kafka itself, or one that already runs."""

import base64
import fcntl
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pattern_metrics.consumer.demo.embedded import (
    HOST,
    EmbeddedBroker,
    EmbeddedServer,
    free_port,
    kafka_answers,
)
from tests.support.shared import shared
from tests.support.waiting import eventually

NODES: Final = (1, 2, 3)
"""The nodes of a cluster."""

_CHECKPOINT: Final = Path("__cluster_metadata-0", "00000000000000000000-0000000000.checkpoint")
"""The formatted metadata, with the features of the version; the ids are in `meta.properties`."""

_COMPILE_QUICKLY: Final = ["-XX:TieredStopAtLevel=1"]

_POM = Path(__file__).with_name("kafka_pom.xml")

VERSION: Final = "4.4.0"
"""Apache Kafka in `make test`."""

CACHE: Final = Path(__file__).parents[2] / ".cache"


@dataclass(frozen=True)
class Broker:
    """A broker that tests share. Each test uses its own topics and groups."""

    name: str  # embedded, apache or external
    bootstrap_servers: str


@dataclass(frozen=True)
class Listener:
    """A listener beside the plain one.

    Attributes:
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        settings: the listener's own, by their names without the listener's prefix.
        advertised_host: the host name that it gives to clients.
        advertised_port: the port that it gives to clients, such as a proxy's; None for its own.
    """

    protocol: str
    settings: Mapping[str, str] = field(default_factory=dict)
    advertised_host: str = HOST
    advertised_port: int | None = None


class ApacheKafka(EmbeddedServer):
    """Apache Kafka, one node in KRaft mode. It keeps its data over a restart.

    Args:
        listeners: the listeners beside the plain one, by name. A change takes effect at the next start.
        settings: server settings that differ from the ones here, by name.
        scram_users: password by user, for each SCRAM mechanism.
        is_brief: whether to start fast rather than run fast.
        version: the release.
    """

    def __init__(
        self,
        listeners: Mapping[str, Listener] | None = None,
        settings: Mapping[str, str] | None = None,
        scram_users: Mapping[str, str] | None = None,
        *,
        is_brief: bool = True,
        version: str = VERSION,
    ) -> None:
        super().__init__()
        self._number = 1
        self.listeners = dict(listeners or {})
        self._ports: dict[str, int] = {}
        self._settings = dict(settings or {})
        self._scram_users = dict(scram_users or {})
        self._libraries = jars(_POM, f"kafka-{version}", version)
        self._controller_port = 0
        self._cluster_id = _new_id()
        self._java_options = ["-Xmx512m"]
        self._checkpoint: Path | None = None
        if is_brief:
            recorded = _recorded(version)
            self._java_options += [*_COMPILE_QUICKLY, f"-XX:SharedArchiveFile={recorded.classes}"]
            self._checkpoint = recorded.checkpoint

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    def _prepare(self) -> None:
        self._controller_port = self._choose_controller_port()
        self._ports = {name: free_port() for name in self.listeners}
        self._write_properties()
        if self._checkpoint is None or self._scram_users:
            self._format()
        else:
            self._format_as_before(self._checkpoint)

    def _format(self) -> None:
        # With an equals sign, because the id may begin with a dash.
        options = [f"--cluster-id={self._cluster_id}", f"--config={self._properties_file}"]
        options += [
            f"--add-scram={mechanism}=[name={name},password={password}]"
            for name, password in self._scram_users.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        ]
        self._run(self._java("kafka.tools.StorageTool", "format", *options))

    def _format_as_before(self, checkpoint: Path) -> None:
        """Do what the tool does, without a JVM of its own."""
        copy = self._data / _CHECKPOINT
        copy.parent.mkdir(parents=True)
        shutil.copy(checkpoint, copy)
        ids = {"cluster.id": self._cluster_id, "directory.id": _new_id(), "node.id": str(self._number)}
        _write(self._data / "meta.properties", {"version": "1", **ids})

    def _choose_controller_port(self) -> int:
        return free_port()

    def port_of(self, listener: str) -> int:
        """Return the listener's own port."""
        return self._ports[listener]

    def bootstrap_servers_of(self, listener: str) -> str:
        """Return the address for clients of a listener."""
        return f"{HOST}:{self.port_of(listener)}"

    def _command(self) -> Sequence[str | Path]:
        self._write_properties()
        return [*self._java("kafka.Kafka"), self._properties_file]

    def _write_properties(self) -> None:
        _write(self._properties_file, self._properties())

    def _is_ready(self) -> bool:
        return kafka_answers(self.port, self._cluster_id)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _properties_file(self) -> Path:
        return self.directory / "server.properties"

    def _java(self, main_class: str, *arguments: str) -> list[str | Path]:
        java = shutil.which("java") or "java"
        options = [
            *self._java_options,
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.network.Selector=info",
        ]
        return [java, *options, "-cp", f"{self._libraries}/*", main_class, *arguments]

    def _properties(self) -> dict[str, str]:
        controller = f"{HOST}:{self._controller_port}"
        plain = f"PLAINTEXT://{self.bootstrap_servers}"
        secured = [f"{name}://{self.bootstrap_servers_of(name)}" for name in self.listeners]
        advertised = [
            f"{name}://{listener.advertised_host}:{listener.advertised_port or self._ports[name]}"
            for name, listener in self.listeners.items()
        ]
        protocols = {name: listener.protocol for name, listener in self.listeners.items()}
        protocols |= {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        return {
            "process.roles": "broker,controller",
            "node.id": str(self._number),
            "controller.quorum.voters": f"{self._number}@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join([plain, *secured, f"CONTROLLER://{controller}"]),
            "advertised.listeners": ",".join([plain, *advertised]),
            "listener.security.protocol.map": ",".join(":".join(pair) for pair in protocols.items()),
            "log.dirs": str(self._data),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # After a crash the broker is fenced until its old session has expired (9 s by default).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "5",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            **{
                f"listener.name.{name.lower()}.{key}": value
                for name, listener in self.listeners.items()
                for key, value in listener.settings.items()
            },
            **self._settings,
        }


class _Node(ApacheKafka):
    """A node of a cluster: broker and controller."""

    def __init__(self, number: int, controller_ports: Mapping[int, int], cluster_id: str) -> None:
        super().__init__()
        self._number = number
        self._controller_ports = controller_ports
        self._cluster_id = cluster_id
        self._java_options.append("-Xmx256m")  # the last option counts

    def _choose_controller_port(self) -> int:
        return self._controller_ports[self._number]

    def _properties(self) -> dict[str, str]:
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in self._controller_ports.items())
        return super()._properties() | {
            "controller.quorum.voters": voters,
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "unclean.leader.election.enable": "false",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
        }


class KafkaCluster:
    """Three nodes of Apache Kafka. Each partition is on all of them, and a write needs two.

    Attributes:
        nodes: each by its id; may be stopped, killed and started again.
    """

    def __init__(self) -> None:
        controller_ports = {number: free_port() for number in NODES}
        cluster_id = _new_id()
        self.nodes = {number: _Node(number, controller_ports, cluster_id) for number in NODES}

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(node.bootstrap_servers for node in self.nodes.values())

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor() as pool:  # no node is ready before most have started
                list(pool.map(_Node.__enter__, self.nodes.values()))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.kill()  # the last nodes would wait for a quorum to leave
            node.__exit__()


def _new_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _write(file: Path, properties: Mapping[str, str]) -> None:
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def jars(pom: Path, name: str, version: str) -> Path:
    """Return the directory of a project's dependencies. The first run downloads them from Maven Central.

    Args:
        pom: the project, which names the property `wanted`.
        name: the directory below `.cache`.
        version: the property's value.
    """
    cache = CACHE / name
    libraries = cache / "libs"
    with _locked(cache / "lock"):
        if not libraries.exists():
            unfinished = cache / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            options = ["-f", str(pom), f"-Dwanted={version}", f"-DoutputDirectory={unfinished}"]
            command = ["mvn", "--quiet", "--batch-mode", *options, "dependency:copy-dependencies"]
            subprocess.run(command, check=True, stdout=sys.__stderr__)  # stdout is for the caller
            unfinished.rename(libraries)
    return libraries


class _Recorded(NamedTuple):
    """Files of a first server, with which later servers start in half the time."""

    classes: Path
    checkpoint: Path


def _recorded(version: str) -> _Recorded:
    java = Path(shutil.which("java") or "java").resolve()
    cache = CACHE / f"kafka-{version}"
    recorded = _Recorded(
        classes=cache / f"classes-{java.stat().st_mtime_ns}.jsa",  # for this exact Java
        checkpoint=cache / _CHECKPOINT.name,
    )
    with _locked(cache / "classes.lock"):
        if not all(file.exists() for file in recorded):
            unfinished = cache / "unfinished.jsa"
            server = ApacheKafka(is_brief=False, version=version)
            server._java_options += [*_COMPILE_QUICKLY, f"-XX:ArchiveClassesAtExit={unfinished}"]
            with server:
                shutil.copy(server._data / _CHECKPOINT, recorded.checkpoint)
            unfinished.rename(recorded.classes)
    return recorded


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Lock against other runs and processes that begin at the same moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def require_apache(request: pytest.FixtureRequest) -> None:
    """Skip or fail a test that needs its own Apache Kafka, if there is none."""
    if request.config.getoption("--kafka") not in {"auto", "apache"}:
        pytest.skip("needs an Apache Kafka of its own: --kafka=apache")
    _skip_without_java()


def _skip_without_java() -> None:
    lacking = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if lacking:
        missing(f"Apache Kafka needs {' and '.join(lacking)}")


def missing(reason: str) -> NoReturn:
    """Skip a test; in CI, which has everything, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI no ring may be left out")
    pytest.skip(reason)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "broker" in metafunc.fixturenames:
        choice = metafunc.config.getoption("--kafka")
        brokers = ["embedded", "apache"] if choice == "auto" else [choice]
        metafunc.parametrize("broker", brokers, indirect=True, scope="session")


@contextmanager
def _embedded_broker() -> Iterator[str]:
    with EmbeddedBroker() as server:
        yield server.bootstrap_servers


@contextmanager
def _apache_kafka() -> Iterator[str]:
    with ApacheKafka() as server:
        yield server.bootstrap_servers


@pytest.fixture(scope="session")
def embedded_broker(pytestconfig: pytest.Config) -> Iterator[Broker]:
    with shared(pytestconfig, _embedded_broker) as bootstrap_servers:
        yield Broker("embedded", bootstrap_servers)


@pytest.fixture(scope="session")
def apache_kafka(pytestconfig: pytest.Config) -> Iterator[Broker]:
    _skip_without_java()
    with shared(pytestconfig, _apache_kafka) as bootstrap_servers:
        yield Broker("apache", bootstrap_servers)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker that `--kafka` names, one after the other."""
    fixtures = {"embedded": "embedded_broker", "apache": "apache_kafka"}
    if request.param not in fixtures:
        return Broker("external", request.param)
    broker: Broker = request.getfixturevalue(fixtures[request.param])
    return broker


@pytest.fixture(scope="module")
def module_apache_kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    require_apache(request)
    with ApacheKafka() as server:
        yield server


@pytest.fixture
def own_apache_kafka(module_apache_kafka: ApacheKafka) -> ApacheKafka:
    """A running Apache Kafka of this module alone, which the test may stop and kill."""
    module_apache_kafka.start()
    return module_apache_kafka


@asynccontextmanager
async def administering(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client, for requests that a consumer cannot make."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create_topic(bootstrap_servers: str, partitions: int = 3) -> str:
    """Create a topic under a new name, and wait until each of its partitions has a leader."""
    name = f"test-{uuid.uuid4().hex}"
    async with administering(bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(name, partitions, 1)])

        async def has_leaders() -> bool:
            [topic] = await admin.describe_topics([name])
            leaders = [partition["leader"] for partition in topic["partitions"]]
            return len(leaders) == partitions and all(leader >= 0 for leader in leaders)

        await eventually(has_leaders)
    return name


@pytest.fixture
async def topic(broker: Broker) -> str:
    """A new topic of three partitions."""
    return await create_topic(broker.bootstrap_servers)
