from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from fabric_jobs import channel
from fabric_jobs.pipes import Reading, Writing


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def test_what_is_written_is_read_in_order_however_large():
    async def story() -> None:
        reader, writer = channel.open_pipe(4096)
        seen = bytearray()

        def take(data: bytes) -> bool:
            seen.extend(data)
            return False

        reading, writing = Reading(reader, take, lambda: True), Writing(writer)
        sent = os.urandom(3 << 20)
        writing.write(sent[:100])
        writing.write(sent[100:])
        await until(lambda: len(seen) == len(sent))
        assert seen == sent
        writing.close()
        reading.finish()

    asyncio.run(story())


def test_nothing_is_read_while_it_may_not_be_and_the_rest_is_read_at_the_end():
    async def story() -> None:
        reader, writer = channel.open_pipe(4096)
        seen = bytearray()
        allowed = True

        def take(data: bytes) -> bool:
            nonlocal allowed
            seen.extend(data)
            allowed = False
            return True

        reading = Reading(reader, take, lambda: allowed)
        os.write(writer, b"first")
        await until(lambda: seen)
        os.write(writer, b"second")
        await asyncio.sleep(0.2)
        assert seen == b"first"
        reading.finish()
        assert seen == b"firstsecond"
        os.close(writer)

    asyncio.run(story())


def test_a_busy_pipe_is_read_seldom_and_an_event_is_seen_soon():
    async def story() -> None:
        reader, writer = channel.open_pipe()
        reads: list[bytes] = []

        def take(data: bytes) -> bool:
            reads.append(data)
            return b"!" in data

        reading = Reading(reader, take, lambda: True)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() < begun + 0.6:
            os.write(writer, b".")
            await asyncio.sleep(0)
            if loop.time() < begun + 0.2:
                reads.clear()
        assert len(reads) <= 0.4 / (0.2 / 8) + 2, (
            "an eighth of the time that it has been busy lies between two"
        )
        reading.hasten()
        count = len(reads)
        os.write(writer, b"!")
        await until(lambda: len(reads) > count)
        os.close(writer)
        reading.finish()

    asyncio.run(story())


def test_a_reader_that_died_is_no_error_here():
    async def story() -> None:
        reader, writer = channel.open_pipe(4096)
        writing = Writing(writer)
        writing.write(bytes(1 << 20))
        os.close(reader)
        await asyncio.sleep(0.05)
        writing.write(b"more")
        writing.close()
        writing.close()

    asyncio.run(story())
