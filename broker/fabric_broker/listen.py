"""Where the embedded server listens: a unix socket, loopback, or an address that compute nodes reach."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from .errors import UsageError

LONGEST_SOCKET_PATH = 107  # bytes, of the 108 that Linux has, one is for the end
_LOOPBACK = "127.0.0.1"
_OFFERS = 10  # ports of the kernel's choice that are tried
# Nothing is sent there (TEST-NET-1): a connected datagram socket merely tells which of our addresses it would use.
_OUTSIDE = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Listen:
    """Either a socket's path, or addresses with one port; the first address is the one to tell others."""

    path: Path | None
    addresses: tuple[str, ...] = ()
    port: int = 0
    host: str = ""
    """The host in the URL."""

    @property
    def url(self) -> str:
        """The URL to connect to."""
        if self.path is not None:
            return f"unix://{quote(str(self.path))}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://{host}:{self.port}"


def choose(run_dir: Path, bind: str | None, last_url: str | None = None) -> Listen:
    """Return where to listen.

    Parameters
    ----------
    bind
        None: a socket in `run_dir`, or a loopback port when its path is too long for a socket. "auto": the address
        that this host uses towards the outside. Else: an address or name of this host.
    last_url
        The URL of the last server; its port is taken again if it is free, so that whoever wrote it down is right.

    Raises
    ------
    UsageError
        `bind` is no address of this host.
    """
    path = run_dir / "redis.sock"
    if bind is None and len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return Listen(path)
    address = _LOOPBACK if bind is None else resolve(bind)
    addresses = _all_of(address)
    return Listen(None, addresses, _free_port(addresses, last_url), told(address))


def told(bind: str) -> str:
    """Return the address by which others reach a server that listens on `bind`; raises UsageError."""
    address = resolve(bind)
    return outside_address() if ipaddress.ip_address(address).is_unspecified else address


def is_loopback(url: str) -> bool:
    """Whether only processes of this host can connect to a URL."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def resolve(bind: str) -> str:
    """Return the numeric address that `bind` ("auto", a name or an address of this host) stands for."""
    if bind == "auto":
        return outside_address()
    try:
        address = str(socket.getaddrinfo(bind, None, type=socket.SOCK_STREAM)[0][4][0])
        with _listening(address, 0):
            return address
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen on {bind!r}: it is no address of this host ({error})") from error


def outside_address() -> str:
    """Return this host's address towards the outside; raises UsageError when there is none but loopback."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_OUTSIDE)
            return str(probe.getsockname()[0])
    except OSError:
        pass  # no default route; the host's own name may still have an address
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = _LOOPBACK
    if ipaddress.ip_address(address).is_loopback:
        raise UsageError(
            "this host has no address but loopback that could be found; name one with --bind ADDR"
        )
    return address


def _all_of(address: str) -> tuple[str, ...]:
    plain = ipaddress.ip_address(address)
    return (address,) if plain.is_loopback or plain.is_unspecified else (address, _LOOPBACK)


def _free_port(addresses: tuple[str, ...], last_url: str | None) -> int:
    """A port that is free on each address; one that the kernel offers may be taken on the others."""
    last = urlsplit(last_url).port if last_url else None
    for port in (last, *[0] * _OFFERS):
        if port is None:
            continue
        try:
            with ExitStack() as probes:
                for address in addresses:
                    port = int(probes.enter_context(_listening(address, port)).getsockname()[1])
                return port
        except OSError:
            continue  # taken by somebody else
    raise UsageError(f"there is no free port on {' and '.join(addresses)}")


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As Redis does it, so that connections of the last server that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        probe.listen(1)
    except OSError:
        probe.close()
        raise
    return probe
