"""The peers. They are installed into `.cache/` at their first use, never by the project."""

import fcntl
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.progress import show

QUIX_VERSION: Final = "3.28.1"
CONFLUENT_VERSION: Final = "2.16.1"
CONNECT_VERSION: Final = "4.3.1"
DEBEZIUM_VERSION: Final = "3.5.0.Final"

_CACHE: Final = Path(__file__).parents[1] / ".cache" / "benchmarks"

# Connect has these itself. A second copy in the plugin would conflict with them.
_CONNECTS_OWN: Final = ("jackson", "kafka", "connect", "slf4j", "lz4", "zstd", "snappy")

_POM: Final = """
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>peer</artifactId>
  <version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""

_DEPENDENCY: Final = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)


def quix_python() -> Path:
    """Return the interpreter that has Quix Streams."""
    return _installed(f"quix-{QUIX_VERSION}", _install_quix) / "bin" / "python"


def confluent_python() -> Path:
    """Return the interpreter that has confluent-kafka."""
    return _installed(f"confluent-{CONFLUENT_VERSION}", _install_confluent) / "bin" / "python"


def connect_libraries() -> Path:
    """Return the directory of Kafka Connect's jars."""
    return _installed(f"connect-{CONNECT_VERSION}", _install_connect)


def debezium_plugin() -> Path:
    """Return the directory of Debezium's JDBC sink, as a plugin of Connect."""
    return _installed(f"debezium-{DEBEZIUM_VERSION}", _install_debezium)


def _installed(name: str, install: Callable[[Path], None]) -> Path:
    _CACHE.mkdir(parents=True, exist_ok=True)
    directory, is_complete = _CACHE / name, _CACHE / f"{name}.complete"
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_complete.exists():
            show(f"installing {name}, once")
            shutil.rmtree(directory, ignore_errors=True)
            install(directory)
            is_complete.touch()
    return directory


def _install_quix(directory: Path) -> None:
    venv.create(directory, with_pip=True)
    _run(directory / "bin" / "pip", "install", "--quiet", f"quixstreams[postgresql]=={QUIX_VERSION}")


def _install_confluent(directory: Path) -> None:
    venv.create(directory, with_pip=True)
    _run(directory / "bin" / "pip", "install", "--quiet", f"confluent-kafka=={CONFLUENT_VERSION}")


def _install_connect(directory: Path) -> None:
    _copy_jars(
        directory,
        ("org.apache.kafka", "connect-runtime", CONNECT_VERSION),
        ("org.apache.kafka", "connect-json", CONNECT_VERSION),
        ("org.slf4j", "slf4j-simple", "1.7.36"),
    )


def _install_debezium(directory: Path) -> None:
    _copy_jars(directory, ("io.debezium", "debezium-connector-jdbc", DEBEZIUM_VERSION))
    for jar in directory.glob("*.jar"):
        if jar.name.startswith(_CONNECTS_OWN):
            jar.unlink()


def _copy_jars(directory: Path, *artifacts: tuple[str, str, str]) -> None:
    directory.mkdir()
    pom = directory / "pom.xml"
    pom.write_text(_POM.format(dependencies="".join(_DEPENDENCY.format(*artifact) for artifact in artifacts)))
    options = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
    _run("mvn", "--quiet", "--batch-mode", "-f", pom, *options)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - our own commands
