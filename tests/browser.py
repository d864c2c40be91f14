"""A real browser for tests: headless Chromium over its DevTools socket; it reads what an xterm.js terminal holds."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse

WAIT = 60.0  # s
NAMES = ("chromium", "chromium-browser", "google-chrome")

_FLAGS = (
    "--headless",
    "--no-sandbox",  # it may be root's, and sees pages of this test only
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1400,900",
)
# xterm.js paints on a canvas; the terminal itself is caught where textual.js keeps it.
_CATCH_TERMINAL = """
Object.defineProperty(Object.prototype, 'terminal', {configurable: true, set(value) {
  if (value && value.buffer) window.caught = value;
  Object.defineProperty(this, 'terminal', {value, writable: true, configurable: true, enumerable: true});
}});
"""
_TEXT = """
(() => {
  if (!window.caught) return document.body ? document.body.innerText : '';
  const buffer = window.caught.buffer.active, lines = [];
  for (let y = 0; y < window.caught.rows; y++) lines.push(buffer.getLine(y).translateToString(true));
  return lines.join('\\n');
})()
"""


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol; RuntimeError if the browser refuses it."""
        id = next(self._ids)
        await self._socket.send_json({"id": id, "method": method, "params": parameters})
        async with asyncio.timeout(WAIT):
            while (answer := await self._socket.receive_json()).get("id") != id:
                pass  # events
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, url: str) -> None:
        await self.call("Page.enable")
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=_CATCH_TERMINAL)
        await self.call("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:
        told = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return told["result"].get("value")

    async def text(self) -> str:
        """What the terminal shows; before there is one, the page."""
        return str(await self.evaluate(_TEXT) or "")

    async def see(self, *texts: str) -> str:
        """Wait until all of these are shown."""
        shown = ""
        try:
            async with asyncio.timeout(WAIT):
                while not all(text in shown for text in texts):
                    await asyncio.sleep(0.05)
                    shown = await self.text()
        except TimeoutError as error:
            raise AssertionError(f"{texts}: not within {WAIT} s; the page:\n{shown}") from error
        return shown

    async def press(self, key: str) -> None:
        """A key with a letter on it."""
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else ""
            )

    async def picture(self, path: Path) -> None:
        """A PNG of the page."""
        told = await self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(told["data"]))


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A page of a browser with an empty profile; both are gone afterwards."""
    path = find_browser()
    assert path is not None
    with tempfile.TemporaryDirectory(prefix="fabric-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [path, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"HOME": profile},
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort", process)
            async with ClientSession(timeout=ClientTimeout(total=WAIT)) as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as told:
                    pages = await told.json()
                (url,) = (page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    yield Page(socket)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=WAIT)


async def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    async with asyncio.timeout(WAIT):
        while not (file.exists() and file.read_text().count("\n")):
            assert process.poll() is None, f"the browser ended with {process.returncode}"
            await asyncio.sleep(0.05)
    return int(file.read_text().splitlines()[0])
