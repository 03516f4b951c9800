"""The accepted forms of a database's URL and their meaning, and the advice for all others."""

import traceback
from typing import Any

import pytest

from pattern_metrics.schemas.settings.database_url import (
    DatabaseUrl,
    InvalidDatabaseUrlError,
    parse_database_url,
)

URL = DatabaseUrl(hosts=(), ports=(), user=None, password=None, database=None, parameters={})

USED: dict[str, dict[str, Any]] = {
    "postgresql://": {},
    "postgres://": {},
    "PostgreSQL://h": {"hosts": ("h",)},
    "postgresql://h:/": {"hosts": ("h",)},
    "postgresql://h.example.:5433/m": {"hosts": ("h.example.",), "ports": (5433,), "database": "m"},
    "postgresql://:5433": {"ports": (5433,)},
    "postgresql://u:p:q@h": {"hosts": ("h",), "user": "u", "password": "p:q"},
    "postgresql://:p@h": {"hosts": ("h",), "password": "p"},
    "postgresql://u:@h": {"hosts": ("h",), "user": "u"},
    "postgresql://u%40s:p%40%2F%3F%23%25@h": {"hosts": ("h",), "user": "u@s", "password": "p@/?#%"},
    "postgresql://u:a,b c+d@h": {"hosts": ("h",), "user": "u", "password": "a,b c+d"},
    "postgresql://u:hun\uff1ater2@h": {"hosts": ("h",), "user": "u", "password": "hun\uff1ater2"},
    " postgresql://h/m\n": {"hosts": ("h",), "database": "m"},
    "postgresql://a,b/m": {"hosts": ("a", "b"), "database": "m"},
    "postgresql://a:1,b/m": {"hosts": ("a", "b"), "ports": (1, 5432), "database": "m"},
    "postgresql://[::1]:1,[fe80::1%25eth0]:2": {"hosts": ("::1", "fe80::1%eth0"), "ports": (1, 2)},
    "postgresql://b\u00fccher.example": {"hosts": ("xn--bcher-kva.example",)},
    "postgresql://%2Frun%2Fpostgresql:1/m": {"hosts": ("/run/postgresql",), "ports": (1,), "database": "m"},
    "postgresql:///m?host=/run,/tmp&port=1,2": {"hosts": ("/run", "/tmp"), "ports": (1, 2), "database": "m"},
    "postgresql://h?port=6432": {"hosts": ("h",), "ports": (6432,)},
    "postgresql:///?user=u&password=p&dbname=m": {"user": "u", "password": "p", "database": "m"},
    "postgresql://h/m?dbname=m&host=h": {"hosts": ("h",), "database": "m"},
    "postgresql://?a=b+c%2B&": {"parameters": {"a": "b c+"}},
    "postgresql://?options=-c a=b&x=": {"parameters": {"options": "-c a=b"}},
    "postgresql://?sslrootcert=/a/b?c&sslmode=verify-full": {
        "parameters": {"sslrootcert": "/a/b?c", "sslmode": "verify-full"}
    },
}

RESERVED = "write @ as %40, / as %2F, ? as %3F and # as %23"
HOST = "a host must be a name, an IPv4 address or an IPv6 address in brackets"
PORT = "a port must be a number from 1 to 65535"
FORM = "must have the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE"

REFUSED = {
    "postgresql://admin@srv:hunter2@h/m": RESERVED,
    "postgresql://u:hunter2@a,u:hunter2@b/m": RESERVED,
    "postgresql://u:hunter2/@h": RESERVED,
    "postgresql://u:hunter2?@h": RESERVED,
    "postgresql://u:hunter2#@h": RESERVED,
    "postgresql://h/m#hunter2": RESERVED,
    "postgresql://h?user=u@hunter2": RESERVED,
    "mysql://u:hunter2@h/m": FORM,
    "postgresql+asyncpg://u:hunter2@h/m": FORM,
    "jdbc:postgresql://h/m?password=hunter2": FORM,
    '"postgresql://u:hunter2@h/m"': FORM,
    "host=h password=hunter2": FORM,
    "u:hunter2@h": FORM,
    "postgresql:h": FORM,
    "": FORM,
    "postgresql://u:hun%zzter2@h": "write % as %25",
    "postgresql://u:hunter2%@h": "write % as %25",
    "postgresql://h/%2": "write % as %25",
    "postgresql://h?hunter2%=x": "write % as %25",
    "postgresql://u:hunter2%ff@h": "are not UTF-8",
    "postgresql://u:hunter2\udcff@h": "not UTF-8",
    "postgresql://u:hunter2%00@h": "remove %00",
    "postgresql://h?hunter2=%00": "remove %00",
    "postgresql://u:hun\nter2@h": "remove the line break",
    "postgresql://u:hun\tter2@h": "remove the line break",
    "postgresql://u:hunter2\0@h": "remove the line break",
    "postgresql://hunter2:x": PORT,
    "postgresql://h:hunter2": PORT,
    "postgresql://h:0": PORT,
    "postgresql://h:65536": PORT,
    "postgresql://h:\u0663": PORT,
    "postgresql://h?port=hunter2": PORT,
    "postgresql://h?port=1,": PORT,
    "postgresql://a,,b": HOST,
    "postgresql://a,:1": HOST,
    "postgresql://a..b": HOST,
    "postgresql://hunter2%20": HOST,
    "postgresql://hunter2%40h": HOST,
    "postgresql://h\u2100": HOST,
    f"postgresql://{'x' * 64}": HOST,
    f"postgresql://{'x.' * 127}": HOST,
    "postgresql://[::1": HOST,
    "postgresql://a:::1": PORT,
    "postgresql://[hunter2]": "only an IPv6 address may stand in brackets",
    "postgresql://[::1%25hunter2%40]": "only an IPv6 address may stand in brackets",
    "postgresql://h?hunter2": "as name=value",
    "postgresql://h?=hunter2": "as name=value",
    "postgresql://h?a=hunter2&a=b": "each parameter after the ? once",
    "postgresql://hunter2?host=b": "write HOST once",
    "postgresql://h:1?port=2": "write PORT once",
    "postgresql://u@h?user=hunter2": "write USER once",
    "postgresql://:hunter2@h?password=x": "write PASSWORD once",
    "postgresql://h/m?dbname=hunter2": "write DATABASE once",
    "postgresql:///?database=m&dbname=hunter2": "write DATABASE once",
    "postgresql://a,b?port=1,2,3": "one PORT for all hosts, or one for each",
    "postgresql://h?sslmode=hunter2": "sslmode must be one of disable, allow",
    "postgresql://h?sslmode=parse": "sslmode must be one of disable, allow",
    "postgresql://h?target_session_attrs=hunter2": "target_session_attrs must be one of any, primary",
    "postgresql://h?gsslib=hunter2": "gsslib must be one of gssapi, sspi",
    "postgresql://h?ssl_min_protocol_version=hunter2": "ssl_min_protocol_version must be one of TLSv1,",
}


@pytest.mark.parametrize("text", USED, ids=repr)
def test_a_url_is_read(text: str) -> None:
    url = parse_database_url(text)
    read = {name: getattr(url, name) for name in DatabaseUrl.__slots__}

    assert read == {name: getattr(URL, name) for name in DatabaseUrl.__slots__} | USED[text]


@pytest.mark.parametrize("text", REFUSED, ids=repr)
def test_a_url_is_refused_with_the_remedy_and_without_its_text(text: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError) as caught:
        parse_database_url(text)

    assert REFUSED[text] in str(caught.value)
    assert "hun" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("user", "said", "hidden"),
    [
        ("eve", 'no entry for user "eve", database "eve"', 'no entry for user "***", database "***"'),
        ("eve", "no such user: eve", "no such user: ***"),
        ("eve", "steve and every", "steve and every"),
        ("a.b", 'role "a.b", not "axb"', 'role "***", not "axb"'),
        ("x" * 70, f'role "{"x" * 63}"', 'role "***"'),
    ],
)
def test_the_user_is_hidden_in_what_a_server_said(user: str, said: str, hidden: str) -> None:
    assert parse_database_url(f"postgresql://{user}@h").without_login(said) == hidden


def test_text_without_a_login_stays_unchanged() -> None:
    assert URL.without_login("any text") == "any text"
