"""A process is killed at any moment: what it has acknowledged is whole, what it has not is whole or not there."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corereg import BLOBS
from corereg.testing.storage import again, digest_of, opened, read
from corereg_storage_fs.storage import FolderStorage

pytestmark = pytest.mark.anyio

ROUNDS = 8

# Stores blobs as fast as it can, several at once, every other one in one call, every third one that was stored before,
# and says so line by line. One upload grows all the time; how far it is, is said too.
CHILD = """
import asyncio, hashlib, json, random, sys, uuid
from corereg_storage_fs.storage import FolderStorage

def say(**what):
    sys.stdout.write(json.dumps(what) + "\\n")
    sys.stdout.flush()

async def store(storage, seed):
    data = random.Random(seed).randbytes(random.Random(seed).choice([0, 10, 70_000, 600_000]))
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    upload = str(uuid.uuid4())
    if seed % 2:
        say(key=await storage.put(upload, await storage.begin(upload), data, digest, lambda: None))
        return
    writer = await storage.writer(upload, await storage.begin(upload), 0)
    for start in range(0, len(data), 50_000):
        await writer.write(data[start:start + 50_000])
    say(key=await storage.commit(upload, await writer.close(), len(data), digest))

async def storer(storage, seeds):
    while True:
        await store(storage, next(seeds))

def seeds():
    number = random.randrange(1 << 30)
    while True:
        yield number % 50 if number % 3 == 0 else number
        number += 1

async def grow(storage, upload):
    state, offset = await storage.begin(upload), 0
    while True:
        writer = await storage.writer(upload, state, offset)
        data = bytes([offset % 251]) * random.choice([1, 1000, 300_000])
        await writer.write(data)
        state = await writer.close()
        offset += len(data)
        say(upload=upload, state=dict(state), offset=offset)

async def main(root, upload):
    storage = FolderStorage(root)
    await storage.open()
    numbers = seeds()
    await asyncio.gather(grow(storage, upload), *(storer(storage, numbers) for _ in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


def live_and_die(root: Path, upload: str) -> list[dict[str, object]]:
    """What a process said before it was killed."""
    with subprocess.Popen([sys.executable, "-c", CHILD, root, upload], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(random.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    whole = (first + rest).rpartition("\n")[0].splitlines()
    assert whole, "the process did not live"
    return [json.loads(line) for line in whole]


async def test_killed_again_and_again(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    whole: set[str] = set()
    for number in range(ROUNDS):
        upload = f"growing-{number}"
        said = live_and_die(tmp_path, upload)
        acknowledged |= {str(line["key"]) for line in said if "key" in line}
        async with opened(lambda: FolderStorage(tmp_path)) as storage:
            there = {stat.key async for stat in storage.list()}
            assert acknowledged <= there
            for key in there - whole:
                assert key.startswith(BLOBS)
                assert hashlib.sha256(await read(storage, key)).hexdigest() == key.split("/")[-2]
            whole |= there
            await go_on(storage, upload, [line for line in said if "upload" in line])
            acknowledged.add(await commit_all(storage, upload))
    assert len(acknowledged) > ROUNDS


async def go_on(storage: FolderStorage, upload: str, said: list[dict[str, object]]) -> None:
    """Continue the growing upload where its process has last said it was."""
    state, offset = (said[-1]["state"], said[-1]["offset"]) if said else (await storage.begin(upload), 0)
    assert isinstance(state, dict)
    assert isinstance(offset, int)
    content = b"".join([piece async for piece in storage.read_upload(upload, state, offset)])
    assert len(content) == offset
    writer = await storage.writer(upload, state, offset)
    await writer.write(b"the end")
    state = again(await writer.close())
    content += b"the end"
    key = await storage.commit(upload, state, len(content), digest_of(content))
    assert await read(storage, key) == content


async def commit_all(storage: FolderStorage, upload: str) -> str:
    """Clear away what was cut off; one more blob to be there for ever."""
    for left in [stat.key async for stat in storage.uploads()]:
        await storage.abort(left, {})
    assert [stat async for stat in storage.uploads()] == []
    writer = await storage.writer(upload, await storage.begin(upload), 0)
    await writer.write(upload.encode())
    return await storage.commit(upload, await writer.close(), len(upload), digest_of(upload.encode()))
