"""Blobs in a bucket: ``[storage] url = "s3://bucket/prefix?endpoint=https://objects.example.com&region=eu-1"``.

``corereg --help`` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from corereg import Duration, Secret, Size, Storage, WebAddress, hookimpl

__all__ = ["StorageS3"]

MiB = 1024 * 1024


class StorageS3:
    """Serves ``s3://bucket/prefix``, with ``?endpoint=`` and ``&region=`` for stores that are not Amazon's."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """How the bucket of ``[storage] url = "s3://..."`` is spoken to.

        Without `access_key` the credentials are found where Amazon's own tools find them: in the environment
        (``AWS_ACCESS_KEY_ID``, ...), in ``~/.aws``, or as the role of the machine or pod.
        """

        access_key: Annotated[Secret | None, msgspec.Meta(description="The access key's id.")] = None
        secret_key: Annotated[Secret | None, msgspec.Meta(description="The secret that belongs to it.")] = None
        session_token: Annotated[Secret | None, msgspec.Meta(description="The token of temporary credentials.")] = None
        path_style: Annotated[
            bool | None,
            msgspec.Meta(
                description="Whether the bucket is named in the path (true) or the host name (false); unset: in the "
                "path where the URL names an endpoint."
            ),
        ] = None
        ca_file: Annotated[
            str | None, msgspec.Meta(description="A PEM file with the authorities that signed the store's certificate.")
        ] = None
        verify_tls: Annotated[bool, msgspec.Meta(description="Whether the store's certificate is verified.")] = True
        redirect: Annotated[
            bool, msgspec.Meta(description="Whether clients fetch blobs from the store itself, over signed URLs.")
        ] = True
        redirect_from: Annotated[
            Size, msgspec.Meta(description="Smaller blobs are sent by the registry itself: a redirect costs a trip.")
        ] = 0
        redirect_expires: Annotated[
            Duration | None,
            msgspec.Meta(
                description="How long a signed URL works, at most a week; unset: what the registry asks for.",
                ge=1,
                le=7 * 86400,
            ),
        ] = None
        public_endpoint: Annotated[
            WebAddress | None,
            msgspec.Meta(description="What clients call the store, where that is not what the registry calls it."),
        ] = None
        part_size: Annotated[
            Size,
            msgspec.Meta(
                description="Bytes of one part; smaller blobs are written with one request. Every thousand parts it "
                "grows by itself.",
                ge=5 * MiB,
                le=512 * MiB,
            ),
        ] = 16 * MiB
        memory: Annotated[
            Size,
            msgspec.Meta(
                description="Bytes that all uploads of one process hold in memory together; beyond that their parts "
                "are gathered in temporary files."
            ),
        ] = 96 * MiB
        attempts: Annotated[
            int,
            msgspec.Meta(
                description="How often one request is tried before it has failed, with growing, uneven pauses.",
                ge=1,
                le=20,
            ),
        ] = 5
        connect_timeout: Annotated[
            Duration, msgspec.Meta(description="How long connecting to the store may take.", ge=1)
        ] = 5
        read_timeout: Annotated[Duration, msgspec.Meta(description="How long the store may keep silent.", ge=1)] = 30
        connections: Annotated[
            int, msgspec.Meta(description="The most connections of one process to the store.", ge=1, le=10_000)
        ] = 100

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()

    @hookimpl
    def provide_storage(self, url: str) -> Storage | None:
        if not url.startswith("s3:"):
            return None
        from corereg_storage_s3.place import place_of
        from corereg_storage_s3.storage import S3Storage

        return S3Storage(place_of(url), self.settings)
