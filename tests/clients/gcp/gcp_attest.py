"""Reads and verifies attestations as Google's published scripts do (`verify_attestation_chains.py`, `parse_v2.py`)."""

import gzip
import struct

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from gcp_wrap import spki

SIGNATURE = 256
KCV, EKCV, LOCAL, CLASS, ID = 0x173, 0x1003, 0x163, 0x0, 0x102


def issued_by(issuer, certificate):
    if issuer.subject != certificate.issuer:
        return False
    try:
        issuer.public_key().verify(
            certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), certificate.signature_hash_algorithm
        )
        return True
    except InvalidSignature:
        return False


def take(issuer, certificates, is_wanted=lambda _: True):
    """The certificate of an issuer, taken out of those that are not trusted yet."""
    found = next(certificate for certificate in certificates if issued_by(issuer, certificate) and is_wanted(certificate))
    certificates.remove(found)
    return found


def partition_key(attestation, roots):
    """The key that both chains end at; the roots are trusted, and nothing may be left over."""
    manufacturer, owner = x509.load_pem_x509_certificates(roots)
    chains = attestation.cert_chains
    texts = [*chains.cavium_certs, *chains.google_card_certs, *chains.google_partition_certs]
    certificates = [x509.load_pem_x509_certificate(text.encode()) for text in texts]
    card = take(manufacturer, certificates)
    partition = take(card, certificates)
    same = lambda one: lambda other: spki(one.public_key()) == spki(other.public_key())
    take(owner, certificates, same(card))
    take(owner, certificates, same(partition))
    assert not certificates
    return partition.public_key()


def verified(attestation, roots):
    """The signed bytes of an attestation; raises `InvalidSignature`."""
    content = gzip.decompress(attestation.content)
    data, signature = content[:-SIGNATURE], content[-SIGNATURE:]
    partition_key(attestation, roots).verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    return content


def attributes(data):
    _, count, size = struct.unpack_from(">III", data)
    rest, found = data[12:], {}
    assert size <= len(rest)
    for _ in range(count):
        kind, length = struct.unpack_from(">II", rest)
        found[kind] = rest[8 : 8 + length]
        rest = rest[8 + length :]
    return found


def objects(attestation, roots):
    """The attributes of each object in it."""
    content = verified(attestation, roots)
    if attestation.format.name == "CAVIUM_V1_COMPRESSED":
        return [attributes(content[:-SIGNATURE])]
    assert attestation.format.name == "CAVIUM_V2_COMPRESSED"
    _, _, total, size = struct.unpack_from(">IIII", content)
    assert total == len(content)
    data = content[total - (size + SIGNATURE) :]
    _, _, first, second = struct.unpack_from(">HHHH", data)
    return [attributes(data[offset:]) for offset in (first, second) if offset]
