"""Uploads at once, and uploads whose client is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx2
import pytest

from corereg.testing.client import RegistryClient, digest, expect
from corereg.testing.wire.answers import stored_bytes
from corereg.testing.wire.protocol import Protocol, needs
from corereg.testing.wire.requests import OCTETS, close_upload, send_chunk, unique


class UploadRaceWire(Protocol):
    """Several who write at once: nothing mixes, one wins, and what was begun can be gone on with."""

    async def test_the_same_blob_pushed_twice_is_201_twice(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        for _ in range(2):
            await client.push_blob(repository, data)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_the_same_blob_pushed_by_many_at_once_is_201_for_all(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique() * 1000
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(client.push_blob, repository, data)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_many_uploads_at_once_do_not_mix(self, client: RegistryClient, repository: str) -> None:
        async def push(number: int) -> None:
            parts = [f"{number} {part} ".encode() * 5000 for part in range(4)]
            location = await client.start_upload(repository)
            for part in parts:
                location = expect(await send_chunk(client, location, part), 202).headers["location"]
            data = b"".join(parts)
            expect(await close_upload(client, location, digest(data)), 201)
            assert await client.pull_blob(repository, digest(data)) == data

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(push, number)

    @needs("chunks")
    async def test_of_chunks_racing_for_one_place_one_wins_and_the_others_are_416(
        self, client: RegistryClient, repository: str
    ) -> None:
        parts = [f"{number}".encode() * 100_000 for number in range(4)]
        answers: list[httpx2.Response] = [httpx2.Response(0)] * 4
        location = await client.start_upload(repository)

        async def send(number: int) -> None:
            answers[number] = await send_chunk(client, location, parts[number], "0-99999")

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(send, number)
        assert sorted(answer.status_code for answer in answers) == [202, 416, 416, 416]
        winner = next(part for part, answer in zip(parts, answers, strict=True) if answer.status_code == 202)
        expect(await close_upload(client, location, digest(winner)), 201)
        assert await client.pull_blob(repository, digest(winner)) == winner

    async def test_a_second_writer_meets_416_while_the_first_still_writes(
        self, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        begun, finish = anyio.Event(), anyio.Event()
        answers: list[httpx2.Response] = []

        async def slowly() -> AsyncIterator[bytes]:
            yield b"1" * 70_000
            begun.set()
            with anyio.move_on_after(5):
                await finish.wait()
            yield b"1" * 70_000

        async def first() -> None:
            answers.append(await client.request("PATCH", location, headers=OCTETS, content=slowly()))

        await client.authorization("PATCH", location)
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await begun.wait()
            await anyio.sleep(0.2)
            answers.append(await send_chunk(client, location, b"2" * 1000))
            finish.set()
        assert sorted(answer.status_code for answer in answers) == [202, 416]
        won = b"1" * 140_000 if answers[1].status_code == 202 else b"2" * 1000
        expect(await close_upload(client, location, digest(won)), 201)
        assert await client.pull_blob(repository, digest(won)) == won

    async def test_an_upload_whose_client_vanished_goes_on_where_the_status_says(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique() * 10_000
        location = await client.start_upload(repository)
        await client.authorization("PATCH", location)

        async def vanish() -> AsyncIterator[bytes]:
            yield data[:100_000]
            await anyio.sleep(0.1)
            raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            await client.request("PATCH", location, headers=OCTETS, content=vanish())
        answer = expect(await client.request("GET", location), 204)
        with anyio.fail_after(20):
            while True:  # the registry may need a moment to notice
                answer = expect(await client.request("GET", location), 204)
                start = 0 if answer.headers["range"] == "0-0" else stored_bytes(answer)
                text = f"{start}-{len(data) - 1}"
                answer = expect(await send_chunk(client, location, data[start:], text), 202, 416)
                if answer.status_code == 202:
                    break
                await anyio.sleep(0.2)
        expect(await close_upload(client, location, digest(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    async def test_of_two_puts_racing_to_close_one_upload_the_blob_is_whole(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique() * 1000
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        answers: list[httpx2.Response] = []

        async def close() -> None:
            answers.append(await close_upload(client, location, digest(data)))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(close)
        for answer in answers:
            expect(answer, 201, 404, 416)
        assert 201 in {answer.status_code for answer in answers}
        assert await client.pull_blob(repository, digest(data)) == data
