"""A server's URL: what is one, and that the password never stays in it."""

import pytest

from fabric_broker.connection import Server, address, connect
from fabric_broker.errors import UsageError


@pytest.mark.parametrize(
    ("given", "shown", "password"),
    [
        ("redis://h", "redis://h", None),
        ("redis://h:6379/2", "redis://h:6379/2", None),
        ("redis://:s3cret@h:1", "redis://h:1", "s3cret"),
        ("rediss://me:p%40ss@h:1/0", "rediss://me@h:1/0", "p@ss"),
        ("redis://me@h", "redis://me@h", None),
        ("redis://[::1]:7", "redis://[::1]:7", None),
        ("redis://:s3cret@[::1]:7", "redis://[::1]:7", "s3cret"),
        ("unix:///run/r.sock", "unix:///run/r.sock", None),
        ("unix:///run/r.sock?db=3&password=s3cret", "unix:///run/r.sock?db=3", "s3cret"),
        ("unix://me:s3cret@/run/r.sock", "unix://me@/run/r.sock", "s3cret"),
        ("rediss://h?ssl_ca_certs=%2Fca.pem", "rediss://h?ssl_ca_certs=%2Fca.pem", None),
    ],
)
def test_a_password_is_moved_out_of_the_url(given, shown, password):
    server = Server.parse(given)
    assert (server.url, server.password) == (shown, password)
    assert "s3cret" not in repr(server) + str(server)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://h",
        "redis://",
        "redis:h",
        "redis://h:port",
        "redis://h:70000",
        "redis://h:0",
        "unix://",
    ],
)
def test_what_is_no_redis_url_is_refused(url):
    with pytest.raises(UsageError, match="redis://HOST:PORT"):
        Server.parse(url)


def test_a_refused_url_is_not_repeated_for_it_may_hold_a_password():
    with pytest.raises(UsageError) as refused:
        Server.parse("http://:s3cret@h")
    assert "s3cret" not in str(refused.value)


def test_a_password_in_the_url_wins_over_one_from_elsewhere():
    assert Server.parse("redis://:here@h", "elsewhere").password == "here"
    assert Server.parse("redis://h", "elsewhere").password == "elsewhere"


@pytest.mark.parametrize("url", ["redis://h:1", "rediss://h:6379", "redis://[::1]:7", "unix:///run/r.sock"])
def test_a_client_tells_its_address_without_user_and_password(url):
    given = url.replace("//", "//me:s3cret@")
    with connect(Server.parse(given)) as client:
        assert address(client) == url
