"""`fabric-tui --web`: who is let in, and that a page drives an app of its own, over the socket that the page uses."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis as redis_py
from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse, CookieJar, WSServerHandshakeError
from tests.integration.tui.filled import small_fabric
from tests.integration.tui.serving import WAIT, Served, serve, until
from tests.redis_process import RedisProcess

from fabric_broker.broker import Broker
from fabric_broker.home import Home


@pytest.fixture(scope="module")
def server(redis_process: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that leave it running."""
    folder = tmp_path_factory.mktemp("web")
    with serve(Home(folder / "home").create(), redis_process.url, folder / "log") as server:
        yield server


@pytest.fixture
def served(redis: redis_py.Redis, server: Served) -> Iterator[Served]:
    """That server with a small fabric, and no page open afterwards."""
    small_fabric(Broker(redis, "default"))
    yield server
    until(lambda: not server.apps(), server.log)


def browse(script: Callable[[ClientSession], Awaitable[None]]) -> None:
    async def run() -> None:
        # Cookies of an address without a name are "unsafe" to aiohttp; browsers keep them.
        jar = CookieJar(unsafe=True)
        async with ClientSession(timeout=ClientTimeout(total=WAIT), cookie_jar=jar) as session:
            await script(session)

    asyncio.run(run())


async def read_until(socket: ClientWebSocketResponse, *texts: str) -> None:
    """Read what the terminal is sent until it has held all of these."""
    seen = ""
    async with asyncio.timeout(WAIT):
        while not all(text in seen for text in texts):
            seen += (await socket.receive_bytes()).decode()


def test_a_page_with_the_token_sees_learners_and_its_keys_arrive(served: Served) -> None:
    async def script(session: ClientSession) -> None:
        async with session.get(served.url, params={"token": served.token}) as page:
            assert page.status == 200
            assert "token" not in str(page.url)
            text = await page.text()
            assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert f'"{served.url.replace("http", "ws")}/ws"' in text
        assert "//fonts." not in text
        for path in ("js/textual.js", "css/xterm.css", "fonts/RobotoMono-VariableFont_wght.ttf"):
            assert path in text
            async with session.get(f"{served.url}/static/{path}") as part:
                assert part.status == 200
        async with session.ws_connect(f"{served.url}/ws?width=120&height=40", origin=served.url) as socket:
            await read_until(socket, "live", "Worst problems", "3 learners failed")
            await socket.send_json(["stdin", "2"])
            await read_until(socket, "46 learners", "sweep-9")

    browse(script)
    until(lambda: not served.apps(), served.log)


def test_without_the_token_or_from_another_origin_nothing_is_served(served: Served) -> None:
    async def script(session: ClientSession) -> None:
        for path in ("/", "/ws", "/download/x"):
            async with session.get(served.url + path) as refused:
                assert refused.status == 401
                assert served.token not in await refused.text()
        async with session.get(served.url, params={"token": "0" * 64}) as refused:
            assert refused.status == 403
        async with session.get(served.url, params={"token": served.token}) as page:
            assert page.status == 200
        for origin in ("http://example.org", "http://127.0.0.1:1", "null"):
            with pytest.raises(WSServerHandshakeError, match="403"):
                await session.ws_connect(f"{served.url}/ws", origin=origin)

    browse(script)
    assert not served.apps()


def test_the_token_is_in_a_file_of_the_user_and_nowhere_else(served: Served) -> None:
    async def script(session: ClientSession) -> None:
        async with session.get(served.url, params={"token": served.token}):
            pass
        async with session.ws_connect(f"{served.url}/ws?width=120&height=40") as socket:
            await read_until(socket, "live")
            (app,) = served.apps()
            for process in (psutil.Process(served.process.pid), app):
                assert served.token not in " ".join(process.cmdline())
                assert served.token not in json.dumps(process.environ())

    browse(script)
    assert stat.S_IMODE(served.home.web_token.stat().st_mode) == 0o600
    assert served.token not in served.log.read_text()
    assert str(served.home.web_token) in served.log.read_text()


@pytest.mark.long
def test_an_app_does_not_outlive_the_server(
    redis: redis_py.Redis, redis_process: RedisProcess, home: Home, tmp_path: Path
) -> None:
    small_fabric(Broker(redis, "default"))

    async def script(session: ClientSession) -> None:
        async with session.get(one.url, params={"token": one.token}):
            pass
        socket = await session.ws_connect(f"{one.url}/ws?width=120&height=40")
        await read_until(socket, "live")
        apps = one.apps()
        assert len(apps) == 1
        one.process.kill()
        one.process.wait(timeout=WAIT)
        _, left = await asyncio.to_thread(psutil.wait_procs, apps, timeout=WAIT)
        for each in left:
            each.kill()
        assert not left

    with serve(home, redis_process.url, tmp_path / "log") as one:
        browse(script)


def test_a_token_that_others_can_read_or_a_port_that_is_taken_is_refused(served: Served) -> None:
    words = ["--home", str(served.home.path), "--web", served.url.removeprefix("http://")]

    def started() -> str:
        told = subprocess.run(
            [sys.executable, "-m", "fabric_tui", *words], capture_output=True, text=True, timeout=WAIT
        )
        assert told.returncode == 1
        return told.stderr

    assert "cannot listen on 127.0.0.1" in started()
    served.home.web_token.chmod(0o644)
    try:
        assert "chmod 600" in started()
    finally:
        served.home.web_token.chmod(0o600)


def test_listening_wider_says_that_it_is_not_encrypted_and_still_asks_for_the_token(
    redis: redis_py.Redis, redis_process: RedisProcess, home: Home, tmp_path: Path
) -> None:
    async def script(session: ClientSession) -> None:
        async with session.get(one.url) as refused:
            assert refused.status == 401

    with serve(home, redis_process.url, tmp_path / "log", host="0.0.0.0") as one:
        until(lambda: "not encrypted" in one.log.read_text(), one.log)
        browse(script)
