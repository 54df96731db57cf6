"""TLS: the certificates that corereg makes, the ones it is given, and HTTP/2."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx2
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from corereg.config import Config, ServerConfig, TLSConfig
from corereg.server import tls
from corereg.server.failure import ServerError

from .running import MIB, SIGNED_IN, Running, head, read_head, running

CONTENT = os.urandom(MIB) * 16
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def secure(tmp_path: Path, kind: str) -> Iterator[Running]:
    with running(tmp_path, "--server", kind, "--tls", "self-signed") as server:
        yield server


# ---- what a client sees ----


def test_the_printed_authority_is_enough(secure: Running) -> None:
    said = secure.said
    assert f"https://127.0.0.1:{secure.port}/v2/" in said
    copies = [line for line in said.splitlines() if f"sudo cp {secure.authority} " in line]
    assert f"/etc/docker/certs.d/localhost:{secure.port}/ca.crt" in copies[0]
    assert f"/etc/containers/certs.d/localhost:{secure.port}/ca.crt" in copies[1]
    with secure.connect(secure=True, protocols=["http/1.1"]) as connection:
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}
        connection.sendall(head("GET", "/v2/"))
        assert read_head(connection)[0] == 200


def test_nothing_but_that_authority_is(secure: Running) -> None:
    with socket.create_connection(("127.0.0.1", secure.port)) as connection, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")
    status = httpx2.get(f"https://127.0.0.1:{secure.port}/healthz", verify=context(secure)).status_code
    assert status == 200
    assert "Traceback" not in secure.said


def test_plain_http_on_it_ends_without_a_word_in_the_log(secure: Running) -> None:
    with secure.connect() as connection:
        connection.sendall(head("GET", "/v2/"))
        with suppress(ConnectionError):
            assert b" 200 " not in connection.recv(4096)
    assert "Traceback" not in secure.said
    assert "error" not in secure.said.lower()


# ---- HTTP/2 ----


def context(server: Running) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.authority))


def test_http2_pushes_and_pulls(secure: Running, kind: str) -> None:
    headers = {"Authorization": SIGNED_IN}
    base = f"https://localhost:{secure.port}"
    with httpx2.Client(base_url=base, http2=True, verify=context(secure), headers=headers, timeout=30) as client:
        started = client.post("/v2/demo/app/blobs/uploads/")
        assert started.http_version == ("HTTP/1.1" if kind == "uvicorn" else "HTTP/2")
        place = started.headers["location"]
        pieces = (CONTENT[at : at + 100_000] for at in range(0, len(CONTENT), 100_000))
        assert client.patch(place, content=pieces).status_code == 202
        assert client.put(place, params={"digest": DIGEST}).status_code == 201
        got = client.get(f"/v2/demo/app/blobs/{DIGEST}")
        assert hashlib.sha256(got.content).digest() == hashlib.sha256(CONTENT).digest()
    assert "Traceback" not in secure.said


class Wire:
    """A bare HTTP/2 client: it sends on when a usual one would have stopped."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.answers: dict[int, int] = {}
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def request(self, method: str, path: str, *, signed_in: bool = True, end: bool = True) -> int:
        stream: int = self.h2.get_next_available_stream_id()
        names = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self.h2.send_headers(stream, names + [("authorization", SIGNED_IN)] * signed_in, end_stream=end)
        self.flush()
        return stream

    def read(self) -> None:
        for event in self.h2.receive_data(self.socket.recv(65536)):
            assert not isinstance(event, h2.events.ConnectionTerminated), event
            if isinstance(event, h2.events.ResponseReceived):
                assert event.stream_id is not None
                self.answers[event.stream_id] = int(dict(event.headers or ())[":status"])
            elif isinstance(event, h2.events.DataReceived):
                assert event.stream_id is not None
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        self.flush()

    def answer(self, stream: int) -> int:
        while stream not in self.answers:
            self.read()
        return self.answers[stream]


@pytest.mark.parametrize("kind", ["hypercorn"], indirect=True)
def test_data_after_the_answer_hurts_no_other_stream(secure: Running) -> None:
    with secure.connect(secure=True, protocols=["h2"]) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        wire = Wire(connection)
        refused = wire.request("PATCH", "/v2/demo/app/blobs/uploads/x", signed_in=False, end=False)
        # Frames made before the answer is read: a fast client is ahead of it.
        for _ in range(40):
            wire.h2.send_data(refused, b"a" * 1000)
        wire.flush()
        assert wire.answer(refused) in {401, 404}
        for _ in range(3):
            assert wire.answer(wire.request("GET", "/healthz")) == 200
    assert "Traceback" not in secure.said


@pytest.mark.parametrize("kind", ["hypercorn"], indirect=True)
def test_windows_are_wide_enough_for_a_distance(secure: Running) -> None:
    with secure.connect(secure=True, protocols=["h2"]) as connection:
        wire = Wire(connection)
        wire.answer(wire.request("GET", "/healthz"))
        stream = wire.request("PATCH", "/v2/demo/app/blobs/uploads/x", end=False)
        assert wire.h2.remote_settings.initial_window_size == MIB
        assert wire.h2.local_flow_control_window(stream) == MIB
        assert wire.h2.remote_settings.max_frame_size == 64 * 1024


# ---- certificates ----


def made(folder: Path, *names: str) -> tuple[tls.Certificate, x509.Certificate]:
    found = tls.self_signed(folder, names or ("localhost", "127.0.0.1"))
    return found, x509.load_pem_x509_certificate(found.cert.read_bytes())


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    found, _ = made(tmp_path / "tls")
    for key in (found.key, tmp_path / "tls" / "ca.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    names = sorted(path.name for path in (tmp_path / "tls").iterdir())
    assert names == ["ca.crt", "ca.key", "server.crt", "server.key"]


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    assert made(tmp_path)[1] == made(tmp_path)[1]
    assert made(tmp_path, "localhost")[1] == made(tmp_path)[1]  # it knows more names than it must


def test_a_new_name_makes_a_new_certificate_of_the_old_authority(tmp_path: Path) -> None:
    _, old = made(tmp_path)
    authority = (tmp_path / "ca.crt").read_bytes()
    found, new = made(tmp_path, "localhost", "registry.example.com", "10.1.2.3", "::1")
    assert new != old
    assert (tmp_path / "ca.crt").read_bytes() == authority
    names = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "registry.example.com"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3", "::1"]
    assert found.context(["h2"])


def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, old = made(tmp_path)
    for days, renewed in ((tls.CERTIFICATE_DAYS - 31, False), (tls.CERTIFICATE_DAYS - 29, True)):
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        monkeypatch.setattr(tls, "_now", lambda later=later: later)
        assert (made(tmp_path)[1] != old) == renewed
    new = made(tmp_path)[1]
    new.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))


def test_a_torn_certificate_is_made_anew_and_a_torn_authority_is_not(tmp_path: Path) -> None:
    found, _ = made(tmp_path)
    found.cert.write_bytes(b"")
    assert made(tmp_path)[1]
    (tmp_path / "ca.key").write_bytes(b"-----BEGIN")
    with pytest.raises(ServerError, match=r"restore ca\.crt and ca\.key"):
        made(tmp_path)


def test_names_of_a_listener() -> None:
    def names(**server: object) -> list[str]:
        return tls.names(Config(server=ServerConfig(**server)))

    usual = ["localhost", "127.0.0.1", "::1", socket.gethostname().lower()]
    assert names() == list(dict.fromkeys(usual))
    assert names(host="registry.lan", external_url="https://Reg.example.com:8443")[-2:] == [
        "registry.lan",
        "reg.example.com",
    ]
    assert set(usual) <= set(names(host="0.0.0.0"))
    assert "0.0.0.0" not in names(host="0.0.0.0")


def test_a_certificate_of_ones_own(tmp_path: Path, kind: str) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    own = str(tmp_path / "own.pem")
    with running(tmp_path, "--server", kind, "--tls-cert", own, "--tls-key", own) as server:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        assert httpx2.get(f"https://localhost:{server.port}/healthz", verify=trusting).status_code == 200
        assert "sudo" not in server.said


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    one, other = trustme.CA().issue_cert("localhost"), trustme.CA().issue_cert("localhost")
    one.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    other.private_key_pem.write_to_path(tmp_path / "key")
    encrypted = serialization.load_pem_private_key(one.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked").write_bytes(encrypted)
    (tmp_path / "text").write_text("no certificate")
    for cert, key, sentence in [
        ("cert", "key", "cannot be used: key values mismatch"),
        ("cert", "locked", "is encrypted"),
        ("text", "text", "cannot be used"),
        ("missing", "key", "cannot be read: No such file or directory"),
    ]:
        config = Config(server=ServerConfig(tls=TLSConfig(cert=tmp_path / cert, key=tmp_path / key)))
        with pytest.raises(ServerError, match=sentence):
            tls.certificate(config)
