"""What the HSM signs about a key lets its owner know it, and nothing else does."""

import hashlib
import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from gcp_attest import CLASS, EKCV, ID, KCV, LOCAL, objects, verified
from gcp_wrap import pkcs8, spki, wrap

KEY = bytes(range(32))


def check_value(key):
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(bytes(16))[:3]


def imported(emulator, ring, material=KEY, purpose="ENCRYPT_DECRYPT", algorithm="GOOGLE_SYMMETRIC_ENCRYPTION", level="HSM"):
    job = emulator.job(ring, level=level)
    key = emulator.shell(ring, purpose=purpose, algorithm=algorithm, level=level)
    version = emulator.bring(key, job, wrap(job, material), algorithm)
    assert version.state.name == "ENABLED", version.import_failure_reason
    return version


# contract: gcp.attestation
@pytest.mark.parametrize("format", ["cavium_v1", "cavium_v2"])
def test_an_attestation_carries_the_check_values_of_the_very_key(start, format):
    emulator = start("--no-quotas")
    emulator.read(attestation=format)
    version = imported(emulator, emulator.ring())
    (found,) = objects(version.attestation, emulator.roots())
    assert found[KCV] == check_value(KEY)
    assert found[EKCV] == HKDF(hashes.SHA256(), 32, salt=None, info=None).derive(KEY)
    assert (found[CLASS], found[LOCAL]) == (b"\4", b"\0")
    assert found[ID].decode() == hashlib.sha512(version.name.encode()).hexdigest()
    emulator.read(attestation=format, extended_check="sha256")
    (found,) = objects(emulator.version(version.name).attestation, emulator.roots())
    assert found[EKCV] == hashlib.sha256(KEY).digest()


# contract: gcp.attestation
def test_a_generated_key_says_that_it_is(emulator, ring):
    key = emulator.key(ring, level="HSM")
    (found,) = objects(emulator.version(f"{key}/cryptoKeyVersions/1").attestation, emulator.roots())
    assert found[LOCAL] == b"\1"


# contract: gcp.attestation
def test_a_pair_is_told_by_its_public_half(emulator, ring):
    private = ec.generate_private_key(ec.SECP256R1())
    version = imported(emulator, ring, pkcs8(private), "ASYMMETRIC_SIGN", "EC_SIGN_P256_SHA256")
    public_half, private_half = objects(version.attestation, emulator.roots())
    expected = spki(private.public_key())
    for found, kind in ((public_half, b"\2"), (private_half, b"\3")):
        assert (found[KCV], found[EKCV]) == (hashlib.sha1(expected).digest()[:3], hashlib.sha256(expected).digest())
        assert found[CLASS] == kind


# contract: gcp.attestation
def test_the_key_of_a_code_is_told_by_its_hash(emulator, ring):
    material = os.urandom(32)
    version = imported(emulator, ring, material, "MAC", "HMAC_SHA256")
    (found,) = objects(version.attestation, emulator.roots())
    assert found[KCV] == hashlib.sha1(material).digest()[:3]


# contract: gcp.attestation
def test_software_keys_and_unfinished_ones_have_none(start):
    emulator = start("--no-quotas")
    ring = emulator.ring()
    assert not imported(emulator, ring, level="SOFTWARE").attestation.content
    emulator.read(import_millis=1_000_000)
    job = emulator.job(ring, level="HSM")
    request = {
        "parent": emulator.shell(ring, level="HSM"),
        "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
        "import_job": job.name,
        "wrapped_key": wrap(job, KEY),
    }
    version = emulator.kms.import_crypto_key_version(request=request)
    assert not emulator.version(version.name).attestation.content
    emulator.advance(seconds=1000)
    assert emulator.version(version.name).attestation.content
    emulator.kms.destroy_crypto_key_version(name=version.name)
    emulator.advance(days=30)
    assert not emulator.version(version.name).attestation.content


# contract: gcp.attestation
def test_a_job_of_the_hsm_is_attested_too(emulator, ring):
    job = emulator.job(ring, level="HSM")
    public_half, _ = objects(job.attestation, emulator.roots())
    assert public_half[LOCAL] == b"\1"
    assert not emulator.job(ring, level="SOFTWARE").attestation.content


# contract: gcp.attestation, gcp.lists
def test_lists_show_attestations_only_when_asked(emulator, ring):
    key = imported(emulator, ring).name.rsplit("/cryptoKeyVersions/")[0]
    listed = lambda **query: list(emulator.kms.list_crypto_key_versions(request={"parent": key, **query}))[0]
    assert not listed().attestation.content
    assert objects(listed(view="FULL").attestation, emulator.roots())


# contract: gcp.attestation
def test_each_emulator_has_roots_of_its_own(emulator, ring, start):
    version = imported(emulator, ring)
    with pytest.raises(StopIteration):
        verified(version.attestation, start().roots())


# contract: gcp.attestation
def test_a_spoiled_attestation_is_found_out(start):
    emulator = start("--no-quotas")
    version = imported(emulator, emulator.ring())
    emulator.read(spoiled={"check_value": True})
    (found,) = objects(emulator.version(version.name).attestation, emulator.roots())
    assert found[KCV] != check_value(KEY) and found[EKCV] != HKDF(hashes.SHA256(), 32, salt=None, info=None).derive(KEY)
    emulator.read(spoiled={"signature": True})
    with pytest.raises(InvalidSignature):
        verified(emulator.version(version.name).attestation, emulator.roots())
