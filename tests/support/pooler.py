"""PgBouncer in front of a PostgreSQL server, as a distribution installs it."""

import os
import pwd
import shutil
import socket
from pathlib import Path

from typing_extensions import override

from pattern_metrics.consumer.demo.embedded import HOST, EmbeddedServer, PostgresServer
from pattern_metrics.consumer.demo.guarded_process import Command
from tests.support.kafka import missing

_SETTINGS = """
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
auth_file = {directory}/users
pool_mode = {mode}
unix_socket_dir =
"""


class PgBouncer(EmbeddedServer):
    """PgBouncer with its defaults but for the mode, for the user `postgres` with a password.

    Args:
        server: the server behind it.
        password: the password of the user `postgres`.
        mode: `pool_mode`.
    """

    def __init__(self, server: PostgresServer, password: str, mode: str = "session") -> None:
        super().__init__()
        self._mode = mode
        self._server = server
        self._password = password
        program = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
        if program is None:
            missing("the system has no PgBouncer")
        self._program = program

    def url(self, database: str, password: str | None = None) -> str:
        """Return the URL of a database behind it."""
        return f"postgresql://postgres:{password or self._password}@{HOST}:{self.port}/{database}"

    @property
    def _file(self) -> Path:
        return self.directory / "pgbouncer.ini"

    @override
    def _prepare(self) -> None:
        places = {"host": HOST, "port": self.port, "server_port": self._server.port, "mode": self._mode}
        self._file.write_text(_SETTINGS.format(**places, directory=self.directory))
        (self.directory / "users").write_text(f'"postgres" "{self._password}"\n')
        if os.geteuid() == 0:  # PgBouncer refuses to run as root
            user = pwd.getpwnam("postgres")
            self._identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (self.directory, self._file, self.directory / "users"):
                os.chown(path, user.pw_uid, user.pw_gid)

    @override
    def _command(self) -> Command:
        return [self._program, self._file]

    @override
    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0
