"""Certificates for tests: an authority, and what it signs. All of them are for this machine and live for a day."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """Paths of PEM files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; `cert` is its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._builder(self._name, self._key, expired=False)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.cert = _write(folder / f"{name}.pem", own.sign(self._key, hashes.SHA256()))

    def sign(self, name: str, *, expired: bool = False) -> Certificate:
        """A certificate for 127.0.0.1 and localhost with `name` as common name. expired: since an hour."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, expired)
        signed = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False).sign(
            self._key, hashes.SHA256()
        )
        key_path = self._folder / f"{name}.key"
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Certificate(_write(self._folder / f"{name}.pem", signed), key_path)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, expired: bool) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        until = now - datetime.timedelta(hours=1) if expired else now + DAY
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(until)
        )


def _write(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path
