"""Uploads, from their start to their end."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from corereg.testing.client import RegistryClient, digest, expect, with_query
from corereg.testing.uploads import explore_uploads
from corereg.testing.wire.chunks import ChunkWire
from corereg.testing.wire.protocol import ABSENT, ALGORITHMS, cases, needs
from corereg.testing.wire.races import UploadRaceWire
from corereg.testing.wire.requests import OCTETS, at, close_upload, pieces, send_chunk, unique, uploads


class UploadWire(ChunkWire, UploadRaceWire):
    """The life of an upload: started, receiving, committed or cancelled."""

    # Start

    async def test_post_starts_an_upload_with_202_and_a_location(self, client: RegistryClient, repository: str) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        assert answer.headers["location"]
        assert answer.headers["content-length"] == "0"

    async def test_the_location_of_an_upload_holds_its_uuid(self, client: RegistryClient, repository: str) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        name = answer.headers["docker-upload-uuid"]
        assert re.fullmatch(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", name, re.IGNORECASE)
        assert name in answer.headers["location"]

    async def test_a_new_upload_says_range_0_0(self, client: RegistryClient, repository: str) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        assert answer.headers["range"] == "0-0"

    async def test_every_upload_is_its_own(self, client: RegistryClient, repository: str) -> None:
        assert len({urlsplit(await client.start_upload(repository)).path for _ in range(5)}) == 5

    async def test_a_minimal_chunk_length_is_a_number_where_it_is_said(
        self, client: RegistryClient, repository: str
    ) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        assert re.fullmatch(r"[0-9]+", answer.headers.get("oci-chunk-min-length", "0"))

    # Whole blobs

    @cases("algorithm", ALGORITHMS)
    async def test_post_then_put_stores_a_blob_with_201(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        data = unique()
        name = digest(data, algorithm)
        answer = expect(await close_upload(client, await client.start_upload(repository), name, data), 201)
        assert answer.headers["docker-content-digest"] == name
        assert await client.pull_blob(repository, name) == data

    async def test_the_location_of_a_stored_blob_can_be_pulled(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        answer = expect(await close_upload(client, await client.start_upload(repository), digest(data), data), 201)
        assert expect(await client.request("GET", answer.headers["location"], follow=True), 200).content == data

    async def test_put_takes_a_whole_blob_without_content_length(self, client: RegistryClient, repository: str) -> None:
        parts = [unique(), unique()]
        name = digest(b"".join(parts))
        location = with_query(await client.start_upload(repository), digest=name)
        expect(await client.request("PUT", location, headers=OCTETS, content=pieces(*parts)), 201)
        assert await client.pull_blob(repository, name) == b"".join(parts)

    @needs("single_post")
    @cases("algorithm", ALGORITHMS)
    async def test_a_single_post_stores_a_blob_with_201(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        data = unique()
        name = digest(data, algorithm)
        target = f"{uploads(repository)}?digest={name}"
        answer = expect(await client.request("POST", target, headers=OCTETS, content=data), 201)
        assert answer.headers.get("docker-content-digest", name) == name
        assert expect(await client.request("GET", answer.headers["location"], follow=True), 200).content == data

    @needs("single_post")
    async def test_a_single_post_may_come_without_content_length(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        target = f"{uploads(repository)}?digest={digest(data)}"
        await client.authorization("POST", uploads(repository))
        expect(await client.request("POST", target, headers=OCTETS, content=pieces(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    @needs("single_post")
    async def test_a_single_post_of_the_empty_blob_is_201(self, client: RegistryClient, repository: str) -> None:
        expect(await client.request("POST", f"{uploads(repository)}?digest={digest(b'')}", headers=OCTETS), 201)
        assert await client.pull_blob(repository, digest(b"")) == b""

    @needs("single_post")
    async def test_a_single_post_of_other_bytes_is_400_digest_invalid_and_stores_nothing(
        self, client: RegistryClient, repository: str
    ) -> None:
        promised, sent = unique(), unique()
        target = f"{uploads(repository)}?digest={digest(promised)}"
        answer = await client.request("POST", target, headers=OCTETS, content=sent)
        expect(answer, 400, code="DIGEST_INVALID")
        for data in (promised, sent):
            expect(await client.request("HEAD", at(repository, "blobs", digest(data))), 404)

    @needs("single_post")
    @cases("name", ["sha256:totallywrong", "md5:" + "a" * 32, "latest", ""])
    async def test_a_single_post_with_a_digest_that_is_none_is_400_digest_invalid(
        self, client: RegistryClient, repository: str, name: str
    ) -> None:
        target = f"{uploads(repository)}?digest={name}"
        expect(await client.request("POST", target, headers=OCTETS, content=b"x"), 400, code="DIGEST_INVALID")

    @needs("single_post")
    async def test_two_digests_that_differ_are_400(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        query = f"?digest={digest(data)}&digest={ABSENT}"
        expect(await client.request("POST", uploads(repository) + query, headers=OCTETS, content=data), 400)
        location = await client.start_upload(repository)
        location = with_query(with_query(location, digest=ABSENT), digest=digest(data))
        expect(await client.request("PUT", location, headers=OCTETS, content=data), 400)

    @needs("digest_algorithm", "sha512")
    async def test_a_post_may_name_the_algorithm_to_come(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        answer = expect(await client.request("POST", f"{uploads(repository)}?digest-algorithm=sha512"), 202)
        name = digest(data, "sha512")
        expect(await close_upload(client, answer.headers["location"], name, data), 201)
        assert await client.pull_blob(repository, name) == data

    @needs("digest_algorithm")
    @cases("algorithm", ["md5", "sha256x", "SHA256", "", "sha-256", "%00"])
    async def test_an_unsupported_algorithm_to_come_is_400(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        expect(await client.request("POST", f"{uploads(repository)}?digest-algorithm={algorithm}"), 400)

    # Status

    @cases("method", ["GET", "HEAD"])
    async def test_the_status_of_an_upload_is_204_with_location_range_and_uuid(
        self, client: RegistryClient, repository: str, method: str
    ) -> None:
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, b"0123456789"), 202).headers["location"]
        answer = expect(await client.request(method, location), 204)
        assert answer.headers["range"] == "0-9"
        assert answer.headers["docker-upload-uuid"] in answer.headers["location"]

    async def test_the_status_of_an_empty_upload_says_range_0_0(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"

    @needs("chunks")
    async def test_the_first_location_stays_good_for_status_and_chunks(
        self, client: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        expect(await send_chunk(client, location, b"01234", "0-4"), 202)
        expect(await send_chunk(client, location, b"56789", "0-4"), 416)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-4"
        expect(await send_chunk(client, location, b"56789", "5-9"), 202)
        expect(await close_upload(client, location, digest(b"0123456789")), 201)

    # Close

    async def test_put_without_digest_is_400_digest_invalid_and_the_upload_goes_on(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        expect(await client.request("PUT", location), 400, code="DIGEST_INVALID")
        expect(await close_upload(client, location, digest(data)), 201)
        assert await client.pull_blob(repository, digest(data)) == data

    @cases("name", ["sha256:totallywrong", "md5:" + "a" * 32, "latest", "sha256:" + "A" * 64, ""])
    async def test_put_with_a_digest_that_is_none_is_400_digest_invalid_and_the_upload_goes_on(
        self, client: RegistryClient, repository: str, name: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        expect(await close_upload(client, location, name), 400, code="DIGEST_INVALID")
        expect(await close_upload(client, location, digest(data)), 201)

    @cases("algorithm", ALGORITHMS)
    async def test_put_with_another_blobs_digest_is_400_digest_invalid_and_stores_nothing(
        self, client: RegistryClient, repository: str, algorithm: str
    ) -> None:
        data, promised = unique(), digest(unique(), algorithm)
        location = await client.start_upload(repository)
        expect(await close_upload(client, location, promised, data), 400, code="DIGEST_INVALID")
        for name in (promised, digest(data)):
            expect(await client.request("HEAD", at(repository, "blobs", name)), 404)

    async def test_after_a_digest_that_did_not_match_the_upload_is_404(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        expect(await close_upload(client, location, ABSENT, data), 400, code="DIGEST_INVALID")
        expect(await close_upload(client, location, digest(data), data), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("GET", location), 404, code="BLOB_UPLOAD_UNKNOWN")

    async def test_a_finished_upload_is_404_blob_upload_unknown(self, client: RegistryClient, repository: str) -> None:
        data = unique()
        location = await client.start_upload(repository)
        expect(await close_upload(client, location, digest(data), data), 201)
        expect(await client.request("GET", location), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await send_chunk(client, location, data), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await close_upload(client, location, digest(data), data), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("DELETE", location), 404, code="BLOB_UPLOAD_UNKNOWN")

    async def test_a_blob_is_not_there_before_its_upload_is_finished(
        self, client: RegistryClient, repository: str
    ) -> None:
        data = unique()
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, data), 202).headers["location"]
        expect(await client.request("GET", at(repository, "blobs", digest(data))), 404)
        expect(await close_upload(client, location, digest(data)), 201)
        expect(await client.request("GET", at(repository, "blobs", digest(data)), follow=True), 200)

    async def test_delete_cancels_an_upload_with_204(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        location = expect(await send_chunk(client, location, unique()), 202).headers["location"]
        expect(await client.request("DELETE", location), 204)

    async def test_a_cancelled_upload_is_404(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        expect(await client.request("DELETE", location), 204)
        expect(await client.request("DELETE", location), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("GET", location), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await send_chunk(client, location, b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await close_upload(client, location, digest(b"x"), b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")

    # Whose upload

    async def test_an_upload_belongs_to_its_repository(self, client: RegistryClient, repository: str) -> None:
        location = await client.start_upload(repository)
        foreign = location.replace(repository, f"{repository}/other")
        assert foreign != location
        await client.push_image(f"{repository}/other", "latest")
        expect(await client.request("GET", foreign), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await send_chunk(client, foreign, b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await close_upload(client, foreign, digest(b"x"), b"x"), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("DELETE", foreign), 404, code="BLOB_UPLOAD_UNKNOWN")
        expect(await client.request("GET", location), 204)

    @needs("auth")
    async def test_an_upload_belongs_to_who_started_it(
        self, client: RegistryClient, other: RegistryClient, repository: str
    ) -> None:
        location = await client.start_upload(repository)
        expect(await other.request("GET", location), 403, 404)
        expect(await send_chunk(other, location, b"x"), 403, 404)
        expect(await close_upload(other, location, digest(b"x"), b"x"), 403, 404)
        expect(await other.request("DELETE", location), 403, 404)
        assert expect(await client.request("GET", location), 204).headers["range"] == "0-0"

    @cases(
        "name",
        [
            "00000000-0000-4000-8000-000000000000",
            "x",
            "%2e%2e",
            "..%2f..%2fetc%2fpasswd",
            "a" * 2000,
            "00000000-0000-4000-8000-00000000000g",
            "%00",
            "'%20OR%201=1",
        ],
    )
    @cases("method", ["GET", "PATCH", "PUT", "DELETE"])
    async def test_a_made_up_upload_is_404_or_400(
        self, client: RegistryClient, repository: str, name: str, method: str
    ) -> None:
        target = f"{uploads(repository)}{name}?digest={digest(b'x')}"
        expect(await client.request(method, target, headers=OCTETS), 404, 400)

    @cases("old,new", [("4", "5"), ("a", "b")])
    async def test_a_tampered_upload_id_is_404_or_400(
        self, client: RegistryClient, repository: str, old: str, new: str
    ) -> None:
        answer = expect(await client.request("POST", uploads(repository)), 202)
        name = answer.headers["docker-upload-uuid"]
        expect(await client.request("GET", uploads(repository) + name[:-1] + "gG"[name[-1] == "g"]), 404, 400)
        changed = name.replace(old, new) if old in name else name[::-1]
        expect(await client.request("GET", uploads(repository) + changed), 404, 400)

    # All of it

    @needs("chunks")
    async def test_any_order_of_upload_requests_keeps_to_the_model(
        self, client: RegistryClient, repository: str, declared: frozenset[str]
    ) -> None:
        await explore_uploads(client, repository, declared)
