"""Certificates: the operator's own, or a certificate authority of ours and what it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from corereg.config import Config
from corereg.server.failure import ServerError

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
"""What browsers and Apple's systems still believe."""
RENEW_DAYS = 30
"""Days before its end that a certificate is made anew, at start."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

Key = ec.EllipticCurvePrivateKey


class Certificate(msgspec.Struct, frozen=True):
    """The listener's certificate chain and key, two PEM files; `authority` where we made it ourselves."""

    cert: Path
    key: Path
    authority: Path | None = None

    def context(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """A server's TLS context that offers `protocols` by ALPN; TLS 1.2 and newer. Raises ServerError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(list(protocols))
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except ssl.SSLError as error:
            reason = (error.reason or "they hold none in PEM form").replace("_", " ").lower()
            raise ServerError(f"the certificate {self.cert} and the key {self.key} cannot be used: {reason}") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise ServerError(f"server.tls: {self.cert} or {self.key} cannot be read: {reason}") from error
        return context

    def days_left(self) -> int:
        """Whole days until the certificate ends; negative when it has."""
        end = x509.load_pem_x509_certificate(self.cert.read_bytes()).not_valid_after_utc
        return (end - _now()).days


def _no_password() -> str:
    raise ServerError("server.tls.key is encrypted: nobody is there to type its password; store it without one")


def certificate(config: Config) -> Certificate | None:
    """What the configuration asks for, made or renewed where it is ours, and tried; None for plain HTTP."""
    tls = config.server.tls
    if tls.self_signed:
        try:
            found = self_signed(config.data / "tls", names(config))
        except OSError as error:
            place = error.filename or config.data / "tls"
            raise ServerError(f"the certificate cannot be kept in {place}: {error.strerror or error}") from error
    elif tls.cert is not None and tls.key is not None:
        found = Certificate(tls.cert, tls.key)
    else:
        return None
    found.context([])
    return found


def names(config: Config) -> list[str]:
    """The names and addresses clients may use for this registry, without duplicates."""
    host = config.server.host
    found = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not listened on
        found += _addresses()
    else:
        found.append(host)
    if config.server.external_url:
        found.append(urlsplit(config.server.external_url).hostname or "localhost")
    return list(dict.fromkeys(name.lower() for name in found if name))


def _addresses() -> list[str]:
    """The address this machine speaks from; connecting a datagram socket sends nothing."""
    found = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            found.append(str(probe.getsockname()[0]))
    return found


def self_signed(folder: Path, wanted: Iterable[str]) -> Certificate:
    """A certificate for all of `wanted`, signed by the authority in `folder`.

    The authority is made once and kept, so that those who trust it go on doing so. The certificate is made anew when it
    ends within `RENEW_DAYS`, when a name is missing, or when the authority did not sign it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority, authority_key = _authority(folder)
    found = Certificate(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    sans = _sans(wanted)
    if not _still_good(found, authority, sans):
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _leaf(key, authority, authority_key, sans)
        _write(found.key, _pem(key), 0o600)
        _write(found.cert, _pem_of(leaf) + _pem_of(authority), 0o644)
    return found


def _authority(folder: Path) -> tuple[x509.Certificate, Key]:
    cert, key = folder / "ca.crt", folder / "ca.key"
    with suppress(FileNotFoundError):
        try:
            authority = x509.load_pem_x509_certificate(cert.read_bytes())
            private = serialization.load_pem_private_key(key.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise ServerError(
                f"the certificate authority in {folder} cannot be read ({error}): restore ca.crt and ca.key, or remove "
                "both and have every client trust the new one"
            ) from error
        if authority.not_valid_after_utc > _now() + dt.timedelta(days=RENEW_DAYS) and isinstance(private, Key):
            return authority, private
    private = ec.generate_private_key(ec.SECP256R1())
    authority = _root(private)
    _write(key, _pem(private), 0o600)
    _write(cert, _pem_of(authority), 0o644)
    return authority, private


def _still_good(found: Certificate, authority: x509.Certificate, sans: x509.SubjectAlternativeName) -> bool:
    try:
        leaf = x509.load_pem_x509_certificate(found.cert.read_bytes())
        private = serialization.load_pem_private_key(found.key.read_bytes(), None)
        leaf.verify_directly_issued_by(authority)
        known = set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    lasting = leaf.not_valid_after_utc > _now() + dt.timedelta(days=RENEW_DAYS)
    return lasting and set(sans) <= known and private.public_key() == leaf.public_key()


def _root(key: Key) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"corereg on {socket.gethostname()}"[:64])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: Key, authority: x509.Certificate, authority_key: Key, sans: x509.SubjectAlternativeName
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corereg")])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(name, authority.subject, key, CERTIFICATE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(sans, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    start = _now() - dt.timedelta(hours=1)  # clocks differ
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sans(wanted: Iterable[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in wanted:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name.partition("%")[0])))
        except ValueError:
            with suppress(ValueError):  # a host name that is not ASCII has no place in a certificate
                found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem_of(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
