"""Certificates of the sink of providers: good ones, and each kind of bad one, by an authority of its own."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from infra.local.sink_script import Listener

_DAY = timedelta(days=1)
_ISSUER = "Sink authority"


class SinkAuthority:
    """Signs certificates, and writes its own to `ca.pem`. Keys are elliptic: a handshake costs a third of RSA's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        own = _certificate(_ISSUER, self._key).add_extension(constraints, critical=True)
        (directory / "ca.pem").write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def context(self, listener: Listener) -> ssl.SSLContext:
        """The server's side of TLS for one listener, with the certificate that its script asks for."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = ("wrong.example",) if listener.certificate == "wrong-name" else listener.names
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        if listener.certificate != "wrong-name":
            alternatives.append(x509.IPAddress(IPv4Address(listener.host)))
        ends = datetime.now(UTC) + (-_DAY if listener.certificate == "expired" else 30 * _DAY)
        builder = _certificate(names[0], key, ends).add_extension(
            x509.SubjectAlternativeName(alternatives), critical=False
        )
        signed = builder.sign(key if listener.certificate == "self-signed" else self._key, hashes.SHA256())
        path = self._directory / f"{listener.host}.pem"
        path.touch(mode=0o600)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + signed.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, ends: datetime | None = None) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ISSUER)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * _DAY)
        .not_valid_after(ends or now + 30 * _DAY)
    )
