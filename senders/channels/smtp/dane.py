"""DANE for SMTP (RFC 7672): whether a server's certificate is the one that its TLSA records name."""

import hashlib
import ssl
from collections.abc import Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from senders.channels.smtp.route import MailHost, TlsaRecord

TRUST_ANCHOR: Final = 2
END_ENTITY: Final = 3
_SELECTORS = (0, 1)
_HASHES = {1: hashlib.sha256, 2: hashlib.sha512}


class DaneMismatch(ConnectionError):
    """The server's certificate is none that its TLSA records name."""


def usable(record: TlsaRecord) -> bool:
    """Whether the record can prove anything for SMTP: usages 0 and 1 cannot (RFC 7672, 3.1.3)."""
    return (
        record.usage in (TRUST_ANCHOR, END_ENTITY)
        and record.selector in _SELECTORS
        and (record.matching == 0 or record.matching in _HASHES)
    )


def verify(connection: ssl.SSLObject, host: MailHost) -> None:
    """Raise DaneMismatch unless one usable record proves the certificate; without a usable one, any will do (2.2)."""
    records = [record for record in host.tlsa if usable(record)]
    chain = _chain(connection)
    if records and not any(_proves(record, chain, host.tls_name or host.name) for record in records):
        raise DaneMismatch(f"{host.server}: its certificate is none that its TLSA records name")


def _proves(record: TlsaRecord, chain: Sequence[x509.Certificate], name: str) -> bool:
    if record.usage == END_ENTITY:  # neither its name nor its dates count (3.1.1)
        return bool(chain) and _matches(record, chain[0])
    anchors = [certificate for certificate in chain[1:] if _matches(record, certificate)]
    if record.selector == 0 and record.matching == 0:
        anchors.append(x509.load_der_x509_certificate(record.data))
    return any(_leads_to(anchor, chain, name) for anchor in anchors)


def _matches(record: TlsaRecord, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        selected = certificate.public_bytes(Encoding.DER)
    else:
        selected = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return record.data == (selected if record.matching == 0 else _HASHES[record.matching](selected).digest())


def _leads_to(anchor: x509.Certificate, chain: Sequence[x509.Certificate], name: str) -> bool:
    verifier = PolicyBuilder().store(Store([anchor])).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(chain[0], list(chain[1:]))
    except VerificationError:
        return False
    return True


def _chain(connection: ssl.SSLObject) -> list[x509.Certificate]:
    """The certificates that the server sent, its own first. Python has no public way to them before 3.13."""
    inner: Any = getattr(connection, "_sslobj", connection)
    sent = inner.get_unverified_chain() or ()
    return [x509.load_pem_x509_certificate(certificate.public_bytes().encode()) for certificate in sent]
