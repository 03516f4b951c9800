"""The rule of who may read the page and the read API."""

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pattern_metrics.consumer.http.access import REFUSAL, THIS_MACHINE, Access

NAMES = ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "127.3.2.1"]
OTHER_NAMES = ["", "metrics.example", "localhost.example:8080", "192.0.2.1", "[", "localhost@evil.example"]

addresses = st.ip_addresses().map(str) | st.ip_addresses(v=4).map(lambda one: f"::ffff:{one}")


def request_from(client: str | None, host: str) -> Request:
    address = None if client is None else (client, 1)
    return Request({"type": "http", "client": address, "headers": [(b"host", host.encode())]})


def may_read(client: str | None, host: str, access: Access = THIS_MACHINE) -> bool:
    try:
        access.check(request_from(client, host))
    except HTTPException as error:
        return (error.status_code, error.detail) != (403, REFUSAL)
    return True


def is_this_machine(client: str) -> bool:
    return ip_address(client.removeprefix("::ffff:") if "." in client else client).is_loopback


@given(addresses, st.sampled_from(NAMES))
@example("127.0.0.1", NAMES[0])
@example("::1", NAMES[0])
@example("::ffff:127.0.0.1", NAMES[0])
@example("::ffff:192.0.2.1", NAMES[0])
def test_without_tokens_only_this_machine_may_read(client: str, host: str) -> None:
    assert may_read(client, host) == is_this_machine(client)
    assert may_read(client, host, Access(is_open=True))


@pytest.mark.parametrize("host", OTHER_NAMES)
def test_a_name_that_is_not_of_loopback_may_be_a_web_site_s(host: str) -> None:
    assert not may_read("127.0.0.1", host)
    assert may_read("127.0.0.1", host, Access(is_open=True))


@pytest.mark.parametrize("client", [None, "", "no address"])
def test_a_client_without_an_address_may_not_read(client: str | None) -> None:
    assert not may_read(client, "localhost")
