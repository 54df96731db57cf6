"""A client that pushes and pulls as plainly as can be, for tests in which the server dies."""

from __future__ import annotations

import hashlib
import json

import httpx2

from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Client:
    """Pushes and pulls with one token, which outlives every restart: the keys are in the database."""

    def __init__(self, server: Served, repository: str) -> None:
        scope = {"scope": f"repository:{repository}:pull,push,delete"}
        token = httpx2.get(
            f"{server.url}/service/token", params=scope, auth=(ADMINISTRATOR, PASSWORD), timeout=20
        ).json()
        bearer = {"Authorization": f"Bearer {token['token']}"}
        self.http = httpx2.Client(base_url=server.url, headers=bearer, timeout=20)
        self.repository = repository

    def close(self) -> None:
        self.http.close()

    def blob(self, data: bytes, pieces: int) -> int:
        """Push a blob in so many PATCHes (0: with the PUT); the last status."""
        start = self.http.post(f"/v2/{self.repository}/blobs/uploads/")
        if start.status_code != httpx2.codes.ACCEPTED:
            return start.status_code
        location, rest = start.headers["location"], data
        step = len(data) // pieces + 1 if pieces else 0
        while step and rest:
            answer = self.http.patch(location, content=rest[:step])
            if answer.status_code != httpx2.codes.ACCEPTED:
                return answer.status_code
            rest = rest[step:]
        return self.http.put(location, params={"digest": digest(data)}, content=rest).status_code

    def manifest(self, tag: str, config: bytes, layers: list[bytes]) -> tuple[int, str]:
        body = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/x", "digest": digest(config), "size": len(config)},
                "layers": [
                    {"mediaType": "application/x", "digest": digest(each), "size": len(each)} for each in layers
                ],
            }
        ).encode()
        answer = self.http.put(
            f"/v2/{self.repository}/manifests/{tag}", content=body, headers={"content-type": MANIFEST}
        )
        return answer.status_code, digest(body)

    def current(self, tag: str) -> str | None:
        """The digest a tag points at."""
        answer = self.http.head(f"/v2/{self.repository}/manifests/{tag}")
        return answer.headers["docker-content-digest"] if answer.status_code == httpx2.codes.OK else None
