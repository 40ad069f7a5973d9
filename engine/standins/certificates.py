"""The keys and certificates the stand-ins and their clients need, made into a directory.

Self-made and worthless elsewhere: a CA, a server certificate for localhost, a Google service
account, an APNs authentication key.
"""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from engine import clock

PROJECT_ID: Final = "standin-project"
CLIENT_EMAIL: Final = "sender@standin-project.iam.gserviceaccount.com"
TEAM_ID: Final = "STANDTEAM1"
KEY_ID: Final = "STANDKEY01"
TOPIC: Final = "com.example.standin"
VALID_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Material:
    """Where the files of one directory are."""

    directory: Path

    @property
    def ca(self) -> Path:
        """PEM certificate a client must trust."""
        return self.directory / "ca.pem"

    @property
    def server(self) -> Path:
        """PEM certificate and key of the TLS server."""
        return self.directory / "server.pem"

    @property
    def service_account(self) -> Path:
        """Google service account, JSON. Its `token_uri` is set when the FCM stand-in starts."""
        return self.directory / "service-account.json"

    @property
    def apns_key(self) -> Path:
        """APNs authentication key, PEM PKCS#8 (what Apple hands out as .p8)."""
        return self.directory / "apns-key.p8"

    def server_context(self) -> ssl.SSLContext:
        """TLS for the APNs stand-in, offering h2."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        context.set_alpn_protocols(["h2"])
        return context

    def client_context(self) -> ssl.SSLContext:
        """TLS for a client that trusts this CA only."""
        return ssl.create_default_context(cafile=str(self.ca))

    def service_account_key(self) -> rsa.RSAPublicKey:
        """The public key that checks grants of the service account."""
        info = orjson.loads(self.service_account.read_bytes())
        key = serialization.load_pem_private_key(info["private_key"].encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key.public_key()

    def apns_public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key that checks APNs provider tokens."""
        key = serialization.load_pem_private_key(self.apns_key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key.public_key()

    def set_token_uri(self, token_uri: str) -> None:
        """Point the service account at a token endpoint."""
        info = orjson.loads(self.service_account.read_bytes())
        info["token_uri"] = token_uri
        _write_private(self.service_account, orjson.dumps(info, option=orjson.OPT_INDENT_2))


def make_material(directory: Path) -> Material:
    """Write what is missing in `directory` (made if need be) and return where it is."""
    directory.mkdir(parents=True, exist_ok=True)
    material = Material(directory)
    if not (material.ca.exists() and material.server.exists()):
        _make_tls(material)
    if not material.service_account.exists():
        _make_service_account(material)
    if not material.apns_key.exists():
        _write_private(material.apns_key, _pem(ec.generate_private_key(ec.SECP256R1())))
    return material


def _make_tls(material: Material) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stand-in CA")])
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    hosts = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    ]
    server = (
        _certificate(name, ca_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    _write_private(material.server, server.public_bytes(pem) + _pem(key))
    material.ca.write_bytes(ca.public_bytes(pem))


def _make_service_account(material: Material) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    info = {
        "type": "service_account",
        "project_id": PROJECT_ID,
        "private_key_id": "standin",
        "private_key": _pem(key).decode(),
        "client_email": CLIENT_EMAIL,
        "client_id": "1",
        "token_uri": "http://127.0.0.1/token",
    }
    _write_private(material.service_account, orjson.dumps(info, option=orjson.OPT_INDENT_2))


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
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


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600, exist_ok=True)
    path.write_bytes(content)
