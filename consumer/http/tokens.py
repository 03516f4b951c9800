"""Bearer tokens: a file of names and SHA-256 digests, which is read again when it changes."""

import hashlib
import hmac
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from pattern_metrics.consumer.settings import InvalidSettingError

logger = structlog.get_logger()

TOKENS_BYTES_MAX: Final = 1024 * 1024

_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._~/-]{0,63})[ \t]+(?P<digest>[0-9A-Fa-f]{64})")
"""A name is a URI reference, because it becomes the CloudEvents `source`."""


@dataclass(frozen=True, slots=True)
class _Token:
    name: str
    digest: bytes


class Tokens:
    """The tokens of a file. Several tokens may have one name, for example while one replaces another.

    Args:
        path: the file: one `NAME SHA256` a line, where SHA256 is the hexadecimal digest of the token. Empty
            lines and lines that begin with # are skipped.
        setting: the setting that names the file.

    Raises:
        InvalidSettingError: the file cannot be read, or a line has another form.
    """

    def __init__(self, path: Path, setting: str) -> None:
        self._path = path
        self._setting = setting
        self._state = self._stat()
        self._tokens = self._read()

    def name_of(self, token: str) -> str | None:
        """Return the name of a token; None if the file does not have it. Each takes the same time."""
        self._read_again()
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        found = None
        for known in self._tokens:
            if hmac.compare_digest(known.digest, digest):
                found = known.name
        return found

    def _read_again(self) -> None:
        """Read the file if it has changed. While it is missing or wrong, the earlier tokens count."""
        try:
            state = self._stat()
            if state != self._state:
                self._state = state
                self._tokens = self._read()
                logger.info("tokens_read", setting=self._setting, tokens=len(self._tokens))
        except InvalidSettingError as error:
            if self._state != ():
                logger.warning("tokens_not_read", setting=self._setting, hint=str(error))
            self._state = ()

    def _stat(self) -> tuple[int, ...]:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - pathlib takes twice as long, at each request
        except OSError as error:
            raise self._unusable(f"cannot be read ({type(error).__name__})") from None
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("is not a regular file")
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

    def _read(self) -> list[_Token]:
        try:
            with self._path.open("rb") as file:
                content = file.read(TOKENS_BYTES_MAX + 1)
            if len(content) > TOKENS_BYTES_MAX:
                raise self._unusable(f"is larger than {TOKENS_BYTES_MAX} bytes")
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise self._unusable(f"cannot be read ({type(error).__name__})") from None
        except UnicodeDecodeError:
            raise self._unusable("is not UTF-8") from None
        tokens, names = list[_Token](), dict[bytes, str]()
        for number, line in enumerate(text.splitlines(), start=1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            found = _LINE.fullmatch(stripped)
            if found is None:
                raise self._unusable(f"line {number} is not NAME SHA256 (64 hexadecimal digits)")
            token = _Token(found["name"], bytes.fromhex(found["digest"]))
            if names.setdefault(token.digest, token.name) != token.name:
                raise self._unusable(f"line {number} gives a second name to a token")
            tokens.append(token)
        return tokens

    def _unusable(self, why: str) -> InvalidSettingError:
        return InvalidSettingError(f"{self._setting}: {self._path} {why}")
