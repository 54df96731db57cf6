"""Storage for tests: an S3 server of their own, and a place elsewhere for every folder that would hold blobs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from corereg.config import Config
from corereg.plugins import PluginError, Plugins, installed, load
from corereg.store.storage import Storage
from corereg.testing.serving import bound

BUCKET = "corereg-tests"
KEYS = {"access_key": "tester", "secret_key": "nothing to protect"}
"""What moto is told: it looks for a signature and does not verify it."""
SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}


class ObjectStore:
    """moto's S3 server, a process of its own on loopback (`url`), with one empty `bucket`."""

    def __init__(self, bucket: str = BUCKET) -> None:
        self.bucket = bucket
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [*bound("KILL"), sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        said = ""
        for line in self._process.stderr:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = found.group()
                break
        else:
            message = f"moto's server did not start (pip install 'moto[server]'): {said}"
            raise AssertionError(message)
        # It goes on talking, and would wait for somebody to listen.
        self._listener = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._listener.start()
        httpx2.put(f"{self.url}/{bucket}", headers=SIGNED, timeout=20, trust_env=False).raise_for_status()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return urlsplit(self.url).port or 0

    @property
    def place(self) -> str:
        """The bucket as a storage's URL."""
        return f"s3://{self.bucket}?endpoint={self.url}&region=us-east-1"

    def stop(self) -> None:
        """End it, and forget what it held."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        if self._process.stderr is not None:
            self._process.stderr.close()


class Storages:
    """Below the storage `url`, a place for every folder that a registry would keep its bytes in.

    `table` is the configuration of the plugin that serves it, beside what ``COREREG__<PLUGIN>__<KEY>`` in the
    environment says.
    """

    def __init__(self, url: str, table: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self._table = dict(table or {})
        self._by_folder: dict[Path, str] = {}

    def of(self, folder: Path) -> str:
        """The place that belongs to a folder: always the same one, empty when it is first asked for."""
        folder = folder.absolute()
        if folder not in self._by_folder:
            place, question, options = self.url.partition("?")
            self._by_folder[folder] = f"{place.rstrip('/')}/{uuid4().hex}{question}{options}"
        return self._by_folder[folder]

    def storage(self, folder: Path) -> Storage:
        """The storage of that place."""
        return self._plugins.storage(self.of(folder))

    @property
    def plugin(self) -> str:
        """The name of the installed plugin that serves `url`."""
        return self._plugins.enabled[0].name

    @cached_property
    def _plugins(self) -> Plugins:
        for each in installed():
            plugins = load([each.name], {})
            if not plugins.implementers("provide_storage"):
                continue
            with suppress(PluginError):
                plugins.storage(self.url)
                said = Config.load(environment=_of_plugin(each.name)).tables.get(each.name, {})
                return load([each.name], {each.name: {**self._table, **said}})
        message = f"--corereg-storage: no installed plugin serves {self.url.partition(':')[0]!r}"
        raise PluginError(message)

    @property
    def environment(self) -> dict[str, str]:
        """`table` for a process, which inherits the rest."""
        return {f"COREREG__{self.plugin}__{key}".upper(): str(value) for key, value in self._table.items()}


def _of_plugin(name: str) -> dict[str, str]:
    start = f"COREREG__{name}__".upper()
    return {key: value for key, value in os.environ.items() if key.upper().startswith(start)}
