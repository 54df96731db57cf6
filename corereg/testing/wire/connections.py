"""Connections: several requests on one, early errors, clients that wait or vanish."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from corereg.testing.client import EMPTY, OCI_IMAGE, RegistryClient, digest, expect, image, with_query
from corereg.testing.wire.line import Closed, Dial, path_of
from corereg.testing.wire.protocol import cases
from corereg.testing.wire.sockets import SocketWire


class ConnectionWire(SocketWire):
    """One connection, from its first request to its end, however its client behaves."""

    # One connection, several requests

    async def test_a_connection_serves_one_request_after_another(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        name = await client.push_blob(repository, b"hello")
        target = f"/v2/{repository}/blobs/{name}"
        authorization = ("Authorization", await client.authorization("GET", target))
        async with dial() as line:
            for method in ("HEAD", "GET", "HEAD", "GET"):
                await line.send(line.head(method, target, authorization))
                answer = await line.answer(method)
                assert answer.status == 200
                assert answer.body == (b"hello" if method == "GET" else b"")

    async def test_requests_sent_at_once_are_answered_in_order(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, b"hello")
        names = [digest(b"hello"), digest(b"absent"), digest(b"hello")]
        targets = [f"/v2/{repository}/blobs/{name}" for name in names]
        authorization = ("Authorization", await client.authorization("GET", targets[0]))
        async with dial() as line:
            await line.send(b"".join(line.head("GET", target, authorization) for target in targets))
            assert [(await line.answer()).status for _ in targets] == [200, 404, 200]

    async def test_an_http_1_0_request_is_answered_and_the_connection_closed(
        self, dial: Dial, client: RegistryClient
    ) -> None:
        authorization = await client.authorization("GET", "/v2/")
        field = "" if authorization is None else f"Authorization: {authorization}\r\n"
        async with dial() as line:
            await line.send(f"GET /v2/ HTTP/1.0\r\n{field}\r\n".encode())
            answer = await line.answer()
            assert answer.status == 200
            assert answer.closes or await line.at_end()

    @cases("where", ["unknown upload", "bad digest", "too large"])
    async def test_after_an_early_error_the_rest_of_the_body_is_never_taken_for_a_request(
        self, dial: Dial, client: RegistryClient, repository: str, where: str
    ) -> None:
        target, fields, status = self.early_error(where, repository)
        authorization = ("Authorization", await client.authorization("PUT", target))
        hidden = b"PROPFIND /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
        size = dict(fields).get("Content-Length", str(len(hidden) * 1000))
        rest = [field for field in fields if field[0] != "Content-Length"]
        async with dial() as line:
            await line.send(line.head("PUT", target, authorization, *rest, ("Content-Length", size)))
            await line.send(hidden * 1000)
            assert (await line.answer()).status == status
            await line.send(line.head("GET", "/v2/"))
            # Either the connection is closed (or waits for the rest of what is too large), or the body was read over.
            with suppress(Closed), anyio.move_on_after(2):
                assert (await line.answer()).status in (200, 401)
        await self.check_alive(client)

    @cases("size", [1_000, 100_000, 5_000_000])
    @cases("coding", ["length", "chunks"])
    async def test_an_early_error_reaches_a_client_that_sends_its_whole_body_first(
        self, dial: Dial, client: RegistryClient, repository: str, size: int, coding: str
    ) -> None:
        target, _, status = self.early_error("unknown upload", repository)
        fields = [("Authorization", await client.authorization("PUT", target))]
        body = b"x" * size
        if coding == "length":
            fields.append(("Content-Length", str(size)))
        else:
            fields.append(("Transfer-Encoding", "chunked"))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
        async with dial() as line:
            await line.send(line.head("PUT", target, *fields) + body)
            assert (await line.answer()).status == status

    def early_error(self, where: str, repository: str) -> tuple[str, list[tuple[str, str]], int]:
        """A PUT whose head alone is reason to refuse it: target, headers, status."""
        upload = f"/v2/{repository}/blobs/uploads/00000000-0000-4000-8000-000000000000"
        return {
            "unknown upload": (f"{upload}?digest={digest(b'x')}", [], 404),
            "bad digest": (f"/v2/{repository}/manifests/sha256:totallywrong", [("Content-Type", OCI_IMAGE)], 400),
            "too large": (
                f"/v2/{repository}/manifests/latest",
                [("Content-Type", OCI_IMAGE), ("Content-Length", "100000000")],
                413,
            ),
        }[where]

    # Clients that wait

    @cases("where", ["unknown upload", "bad digest", "too large"])
    async def test_who_expects_100_continue_gets_an_error_and_is_not_asked_for_the_body(
        self, dial: Dial, client: RegistryClient, repository: str, where: str
    ) -> None:
        target, fields, status = self.early_error(where, repository)
        authorization = ("Authorization", await client.authorization("PUT", target))
        if not any(name == "Content-Length" for name, _ in fields):
            fields = [*fields, ("Content-Length", "1000000")]
        async with dial() as line:
            await line.send(line.head("PUT", target, authorization, *fields, ("Expect", "100-continue")))
            assert await line.interim() == status
        await self.check_alive(client)

    async def test_who_expects_100_continue_gets_416_and_is_not_asked_for_the_chunk(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Range", "500-999"),
                ("Content-Length", "500"),
                ("Expect", "100-continue"),
            )
            await line.send(line.head("PATCH", path_of(location), *fields))
            assert await line.interim() == 416

    @pytest.mark.corereg_needs("auth")
    async def test_a_stranger_who_expects_100_continue_gets_401_and_is_not_asked_for_the_body(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        async with dial() as line:
            fields = (("Content-Length", "1000000"), ("Expect", "100-continue"))
            await line.send(line.head("POST", f"/v2/{repository}/blobs/uploads/", *fields))
            assert await line.interim() == 401

    async def test_who_expects_100_continue_is_told_to_go_on(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Length", "5"),
                ("Expect", "100-continue"),
            )
            await line.send(line.head("PATCH", path_of(location), *fields))
            assert await line.interim() == 100
            await line.send(b"hello")
            answer = await line.answer()
        assert answer.status == 202
        assert answer.headers["range"] == "0-4"

    async def test_the_target_may_name_the_host(self, dial: Dial, client: RegistryClient, repository: str) -> None:
        name = await client.push_blob(repository, b"hello")
        target = f"/v2/{repository}/blobs/{name}"
        authorization = ("Authorization", await client.authorization("GET", target))
        async with dial() as line:  # RFC 9112, 3.2.2
            await line.send(line.head("GET", f"http://{line.host}{target}", authorization))
            answer = await line.answer()
        assert (answer.status, answer.body) == (200, b"hello")

    async def test_a_slow_client_is_waited_for(self, dial: Dial, client: RegistryClient, repository: str) -> None:
        data = b"a slow client's bytes"
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Length", str(len(data))),
            )
            for byte in line.head("PATCH", path_of(location), *fields)[:40]:
                await line.send(bytes([byte]))
            await line.send(line.head("PATCH", path_of(location), *fields)[40:])
            for byte in data:
                await anyio.sleep(0.05)
                await line.send(bytes([byte]))
            answer = await line.answer()
        assert answer.status == 202
        expect(await client.request("PUT", with_query(answer.headers["location"], digest=digest(data))), 201)

    async def test_fifty_silent_clients_stand_in_nobodys_way(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        authorization = ("Authorization", await client.authorization("PATCH", location))
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(self.stay_silent, dial, path_of(location), authorization)
            await anyio.sleep(0.5)
            with anyio.fail_after(10):
                await client.push_image(repository, "latest")
            group.cancel_scope.cancel()

    async def stay_silent(self, dial: Dial, target: str, authorization: tuple[str, str | None]) -> None:
        """Promise a body and send none."""
        async with dial() as line:
            await line.send(line.head("PATCH", target, authorization, ("Content-Length", "1000")))
            await anyio.sleep(60)

    # Clients that vanish

    async def test_a_blob_whose_client_vanished_is_not_stored(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        data = b"x" * 1000
        target = f"/v2/{repository}/blobs/uploads/?digest={digest(data)}"
        put = with_query(await client.start_upload(repository), digest=digest(data))
        for method, where in (("POST", target), ("PUT", path_of(put))):
            async with dial() as line:
                authorization = ("Authorization", await client.authorization(method, where))
                await line.send(line.head(method, where, authorization, ("Content-Length", "2000")) + data)
        await anyio.sleep(0.5)
        expect(await client.request("HEAD", f"/v2/{repository}/blobs/{digest(data)}"), 404)

    async def test_a_manifest_whose_client_vanished_is_not_stored(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        await client.push_blob(repository, EMPTY.body)
        target = f"/v2/{repository}/manifests/latest"
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PUT", target)),
                ("Content-Type", OCI_IMAGE),
                ("Content-Length", "5000"),
            )
            await line.send(line.head("PUT", target, *fields) + image().body)
        await anyio.sleep(0.5)
        expect(await client.get_manifest(repository, "latest"), 404)

    async def test_an_upload_goes_on_after_its_connection_broke(
        self, dial: Dial, client: RegistryClient, repository: str
    ) -> None:
        data = b"0123456789" * 100
        location = await client.start_upload(repository)
        async with dial() as line:
            fields = (
                ("Authorization", await client.authorization("PATCH", location)),
                ("Content-Length", "1000"),
            )
            await line.send(line.head("PATCH", path_of(location), *fields) + data[:500])
            await anyio.sleep(0.2)
        with anyio.fail_after(20):
            while True:  # until the registry noticed
                answer = expect(await client.request("GET", location), 204)
                end = int(answer.headers["range"].partition("-")[2])
                start = end + 1 if end else 0
                assert start <= 500
                headers = {"Content-Range": f"{start}-999"}
                answer = await client.request("PATCH", location, headers=headers, content=data[start:])
                if expect(answer, 202, 416).status_code == 202:
                    break
                await anyio.sleep(0.2)
        expect(await client.request("PUT", with_query(location, digest=digest(data))), 201)
        assert await client.pull_blob(repository, digest(data)) == data
