"""`fabric-tui --web`: the same app in a browser, a process for each page, for whoever has the token of the home.

Loopback is no protection by itself: on a login node everybody reaches it, and so does any page that a user's
browser shows. So each request carries the token (in a cookie, after the first one), and a page of another origin
gets no connection.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp_jinja2
import click
from aiohttp import web
from jinja2 import FileSystemLoader
from textual_serve.server import Server

from fabric_broker.errors import FabricError
from fabric_broker.listen import is_loopback

PAGE: Final = Path(__file__).with_name("page")
FONT_SIZE: Final = 16
_HEADERS: Final = {
    # Nothing from elsewhere: a page on a cluster would wait for it, and it is nobody's business who looks.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
CLOSING: Final = 2.0
"""Seconds for open pages to end by themselves."""


class ListenError(FabricError):
    """The address cannot be listened on."""


class WebServer(Server):
    """Serves one command to browsers that show the token."""

    def __init__(self, command: Sequence[str], host: str, port: int, *, token: str, token_file: Path) -> None:
        # Without a shell in between, the app sees when this process is gone.
        line = f"exec {shlex.join(command)}"
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        super().__init__(line, host=host, port=port, public_url=url)
        self._token = token
        self._token_file = token_file
        self._cookie = f"fabric-tui-{port}"

    def listen(self) -> None:
        """Serve until SIGINT or SIGTERM; ListenError."""
        # Only what went wrong: a log of requests would hold the token.
        logging.basicConfig(level=logging.WARNING, format="fabric-tui: %(message)s", stream=sys.stderr)
        asyncio.run(self._listen())

    async def _listen(self) -> None:
        app = web.Application()
        aiohttp_jinja2.setup(app, loader=FileSystemLoader(PAGE))
        app.add_routes(
            [
                web.get("/", self.handle_index),
                web.get("/ws", self.handle_websocket),
                web.get("/download/{key}", self.handle_download),
                web.static("/static", self.statics_path),
                web.static("/page", PAGE),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSING)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
            self._tell()
            await _told_to_end()
        except OSError as error:
            where = f"{self.host}:{self.port}"
            raise ListenError(f"cannot listen on {where}: {error.strerror or error}") from error
        finally:
            await runner.cleanup()

    def _tell(self) -> None:
        """Where it is; the token only to a person's terminal, never into a log."""
        if sys.stderr.isatty():
            told = f"open {self.public_url}/?token={self._token}"
        else:
            told = f"open {self.public_url}/?token=TOKEN; the token is in {self._token_file}"
        click.echo(f"fabric-tui: {told}\nfabric-tui: ctrl+c ends it", err=True)
        if not is_loopback(self.public_url):
            click.echo(
                "fabric-tui: this is not encrypted; over a network that others share, "
                "leave it on loopback and use an SSH tunnel",
                err=True,
            )

    # -- requests --------------------------------------------------------------------------------------------

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        """The page; with the token in the query: take it, and hide it from the address line."""
        if "token" in request.query:
            if not self._is_token(request.query["token"]):
                raise web.HTTPForbidden(
                    text=f"This is not the token in {self._token_file}.\n", headers=_HEADERS
                )
            answer = web.HTTPFound("/", headers=_HEADERS)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict", path="/")
            raise answer
        self._admit(request)
        scheme = "wss" if request.secure else "ws"
        # By the name that the browser used: it may have come through a tunnel.
        context = {"websocket": f"{scheme}://{request.host}/ws", "font_size": FONT_SIZE}
        page = aiohttp_jinja2.render_template("index.html", request, context)
        page.headers.update(_HEADERS)
        return page

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """A terminal for the page."""
        self._admit(request)
        return await super().handle_websocket(request)

    async def handle_download(self, request: web.Request) -> web.StreamResponse:
        """What the app delivers as a file."""
        self._admit(request)
        return await super().handle_download(request)

    def _admit(self, request: web.Request) -> None:
        if not self._is_token(request.cookies.get(self._cookie, "")):
            raise web.HTTPUnauthorized(
                text=f"Open the address that fabric-tui --web told, with the token in {self._token_file}.\n",
                headers=_HEADERS,
            )
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="This page is of another origin.\n", headers=_HEADERS)

    def _is_token(self, told: str) -> bool:
        return hmac.compare_digest(told.encode(), self._token.encode())


async def _told_to_end() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
