"""A broker that requires TLS and a password, beside an open listener for the test itself."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from drivers.free_ports import free_port
from drivers.own_broker import DISTANCE, own_broker
from drivers.real_servers import RealServers

USER, PASSWORD = "ebbtide", "open-sesame-4711"


def authority(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 for clients to trust, and it with its key for the broker; both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's broker")]), dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    trusted, store = folder / "ca.pem", folder / "broker.pem"
    trusted.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    store.write_bytes(private + trusted.read_bytes())
    return trusted, store


def listener(plain: int, controller: int, secured: int, store: Path) -> str:
    """The broker's configuration: what is open today, and beside it a listener with TLS and SCRAM."""
    return f"""
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{secured}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secured}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={store}
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """The address of the open listener, and the variables with which a process uses the secured one."""

    open: str
    variables: dict[str, str]


@contextmanager
def secured_broker(servers: RealServers, folder: Path) -> Iterator[SecuredBroker]:
    """A broker with both listeners and the user USER; ended with the block."""
    trusted, store = authority(folder)
    plain, port = servers.ports.base + DISTANCE, free_port()
    with own_broker(servers, folder, listener(plain, plain + 1, port, store)) as broker:
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = UserScramCredentialUpsertion(USER, credentials, PASSWORD.encode())
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.alter_user_scram_credentials([wanted])[USER].result(30)
        variables = {
            "EBBTIDE_KAFKA": f"127.0.0.1:{port}",
            "EBBTIDE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "EBBTIDE_KAFKA_SASL_USERNAME": USER,
            "EBBTIDE_KAFKA_SASL_PASSWORD": PASSWORD,
            "EBBTIDE_KAFKA_SSL_CA_LOCATION": str(trusted),
        }
        yield SecuredBroker(broker.address, variables)
