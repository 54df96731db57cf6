"""What the operations page tells an operator to set up works: the backup, the proxy, the service."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import httpx2
import msgspec
import pytest
import trustme

from corereg import Config, Registry, asgi
from corereg.oci.digest import Digest
from corereg.testing.client import EMPTY, Credentials, RegistryClient, blob, expect, image, with_query
from corereg.testing.registry import Person, scratch
from tests.clients.tools import missing

from .blocks import DOCS, Block, blocks_of
from .session import Session

pytestmark = pytest.mark.corereg_files

PAGE = DOCS / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
PASSWORD = "a Password for tests only 1"
KiB = 1024


def block(mark: str) -> Block:
    """The one block that is a file of that name, else the one that holds the word."""
    blocks = blocks_of(PAGE)
    found = [each for each in blocks if each.file == mark] or [each for each in blocks if mark in each.text]
    assert len(found) == 1, f"{mark}: {len(found)} blocks"
    return found[0]


# ---- backup ----


@pytest.mark.anyio
async def test_a_backup_under_load_holds_all_that_its_database_names(tmp_path: Path) -> None:
    """Pushes go on while the page's lines run; afterwards every image in the backup is whole."""
    page = tmp_path / "page"
    session = Session(page, lambda *_: (1, "no docker here"))
    pushed: list[str] = []
    async with scratch(page / "corereg-data", people={"admin": Person(PASSWORD)}) as registry:
        client = RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD))

        async def push() -> None:
            while True:
                tag = str(len(pushed))
                layer = blob(os.urandom(64 * KiB))
                await client.push("library/app", tag, image(EMPTY, [layer]), EMPTY, layer)
                pushed.append(tag)

        async with client, anyio.create_task_group() as group:
            group.start_soon(push)
            while len(pushed) < 5:
                await anyio.sleep(0.01)
            before = len(pushed)
            await anyio.to_thread.run_sync(session.do, block("corereg backup create"))
            group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(session.do, block("corereg restore backup"))

    async with scratch(page / "restored", people={"admin": Person(PASSWORD)}) as restored:
        tags = (await restored.session().tags("library/app", "", 100_000)).names
        assert len(tags) >= before
        async with RegistryClient(app=asgi(restored), credentials=Credentials("admin", PASSWORD)) as client:
            for tag in tags:
                manifest = expect(await client.get_manifest("library/app", tag), 200)
                for each in msgspec.json.decode(manifest.content)["layers"]:
                    assert Digest.of(await client.pull_blob("library/app", each["digest"])) == each["digest"]
    for path in (page / "backup").rglob("*"):
        assert not path.stat().st_mode & 0o077, f"others may read {path.name}"


# ---- proxy ----


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[tuple[int, Path]]:
    """The page's server block in an nginx of the test's own; its port and its certificate's authority."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        missing("nginx is not installed (on Debian, as root: scripts/servers)")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("registry.example.com", "localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    port = free_port()
    server = block("registry.conf").text
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/registry.example.com.pem", str(folder / "cert.pem")),
        ("/etc/ssl/registry.example.com.key", str(folder / "key.pem")),
        ("127.0.0.1:8080", f"127.0.0.1:{upstream}"),
    ):
        assert old in server, f"the page's server block lost {old!r}"
        server = server.replace(old, new)
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{each}_temp_path {folder / each};" for each in places)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{server}}}\n"
    )
    process = subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.PIPE)
    try:
        await_port(port, process)
        yield port, folder / "ca.pem"
    finally:
        process.send_signal(signal.SIGQUIT)
        process.communicate(timeout=20)


def test_a_push_through_the_pages_nginx(tmp_path: Path) -> None:
    """A layer goes through in chunks, and what comes back leads to the proxy, not behind it."""
    upstream = free_port()
    session = Session(tmp_path / "page", lambda *_: (1, "no docker here"))
    session.port = upstream
    config = block("corereg.toml")
    (tmp_path / "nginx").mkdir()
    try:
        with nginx(tmp_path / "nginx", upstream) as (port, authority):
            text = config.text.replace("/var/lib/corereg", str(tmp_path / "page" / "corereg-data"))
            session.do(config._replace(text=text.replace("registry.example.com", f"localhost:{port}")))
            session.serve("corereg serve")
            administrator = Credentials("admin", session.password_of("admin"))
            anyio.run(push_through, port, authority, administrator)
            events = anyio.run(journal, tmp_path / "page" / "corereg-data")
    finally:
        session.close()
    addresses = {address for kind, address in events if kind == "manifest.push"}
    assert addresses == {"127.0.0.2"}, "the client's own address, not the proxy's"


async def push_through(port: int, authority: Path, credentials: Credentials) -> None:
    """A layer in pieces, its manifest, and the layer back; as a client at 127.0.0.2."""
    context = ssl.create_default_context(cafile=str(authority))
    transport = httpx2.AsyncHTTPTransport(verify=context, local_address="127.0.0.2")
    layer = blob(os.urandom(3 * 1024 * KiB))
    async with httpx2.AsyncClient(transport=transport, base_url=f"https://localhost:{port}", timeout=30) as client:
        asked = await client.get("/v2/")
        assert f'realm="https://localhost:{port}/service/token"' in asked.headers["www-authenticate"]
        basic = {"Authorization": credentials.basic}
        for content in (EMPTY, layer):
            begun = expect(await client.post("/v2/library/app/blobs/uploads/", headers=basic), 202)

            async def pieces(body: bytes = content.body) -> AsyncIterator[bytes]:
                for start in range(0, len(body), 100 * KiB):
                    yield body[start : start + 100 * KiB]

            place = begun.headers["location"]
            assert place.startswith("/v2/")
            expect(await client.patch(place, headers=basic, content=pieces()), 202)
            expect(await client.put(with_query(place, digest=content.digest), headers=basic), 201)
        manifest = image(EMPTY, [layer])
        typed = basic | {"Content-Type": manifest.media_type}
        expect(await client.put("/v2/library/app/manifests/1", headers=typed, content=manifest.body), 201)
        pulled = await client.get(f"/v2/library/app/blobs/{layer.digest}", headers=basic)
        assert pulled.content == layer.body


async def journal(data: Path) -> list[tuple[str, str | None]]:
    """Kind and address of everything that happened."""
    registry = Registry(Config(data=data))
    await registry.open(background=False)
    try:
        return [(each.kind, each.address) for each in await registry.journal.events(limit=1000)]
    finally:
        await registry.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"nginx does not listen: {process.communicate()[1].decode()}")


# ---- service ----


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = block("corereg.service").text
    command = re.search(r"^ExecStart=(\S+)", unit, flags=re.MULTILINE)
    assert command is not None
    file = tmp_path / "corereg.service"
    file.write_text(unit.replace(command[1], "/bin/true"))  # it looks whether the program is there
    done = subprocess.run(
        [program, "verify", "--man=no", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert "corereg.service" not in done.stdout, done.stdout


def test_the_service_is_not_killed_before_the_registry_gives_up() -> None:
    timeout = re.search(r"^TimeoutStopSec=(\d+)$", block("corereg.service").text, flags=re.MULTILINE)
    assert timeout is not None
    assert int(timeout[1]) > Config().server.shutdown_timeout + 15


# ---- what the registry says ----


def test_sentences_that_are_quoted_are_said() -> None:
    """The parts of each quoted sentence of ours stand in the source."""
    source = " ".join(
        path.read_text(encoding="utf-8")
        for folder in ("corereg", "plugins/accounts/corereg_accounts")
        for path in (DOCS.parent / folder).rglob("*.py")
    )
    ours = re.findall(r"^\| `(?:unauthorized|toomanyrequests|denied|unsupported): ([^`]+)`", TEXT, re.MULTILINE)
    assert len(ours) > 5
    for sentence in ours:
        if sentence.startswith("requested access"):  # docker's own
            continue
        for part in re.split(r"…|alice|may not", sentence):
            words = part.strip(" :;")
            assert words in source, f"nobody says: {words}"
