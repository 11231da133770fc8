"""Certificates for loopback, made by the test that wants them: an authority, and what it signs."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = x509.NameOID.COMMON_NAME


class Certificate(NamedTuple):
    """PEM files: the certificate, its private key, and both in one."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """A certificate authority of one test; `ca` is the PEM file to trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / f"{name}.ca.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = _builder(self._name, self._name, self._key).add_extension(constraints, critical=True)
        self.ca.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, *hosts: str, password: str = "") -> Certificate:
        """A certificate for these hosts (names or addresses), or for a client; the key is encrypted with a password."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NAME, name)])
        builder = _builder(subject, self._name, key)
        if hosts:
            named = [_named(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(named), critical=False)
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        certificate = _pem(builder.sign(self._key, hashes.SHA256()))
        made = Certificate(*(self._folder / f"{name}.{part}.pem" for part in ("certificate", "key", "both")))
        for path, data in zip(made, (certificate, private, private + certificate), strict=True):
            path.write_bytes(data)
        return made


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
