"""Keys do what they say, and agree with another implementation that has the same bytes."""

import os

import google_crc32c
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gcp_refused import refused
from gcp_wrap import SHA256, oaep, wrap

LEVELS = ["SOFTWARE", "HSM"]


def crc(data):
    return google_crc32c.value(data)


def digest(data, algorithm=SHA256):
    hashed = hashes.Hash(algorithm)
    hashed.update(data)
    return hashed.finalize()


def public(emulator, version):
    shown = emulator.kms.get_public_key(name=version)
    assert shown.pem_crc32c == crc(shown.pem.encode()) and shown.name == version
    return serialization.load_pem_public_key(shown.pem.encode())


def imported(emulator, ring, material, purpose, algorithm, level="SOFTWARE"):
    job = emulator.job(ring, level=level)
    key = emulator.shell(ring, purpose=purpose, algorithm=algorithm, level=level)
    return emulator.bring(key, job, wrap(job, material), algorithm).name


# contract: gcp.use, gcp.crc32c
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_encrypted_decrypts_with_its_context_alone(emulator, ring, level):
    key, other = emulator.key(ring, level=level), emulator.key(ring, level=level)
    sealed = emulator.kms.encrypt(
        request={"name": key, "plaintext": b"plain", "plaintext_crc32c": crc(b"plain"), "additional_authenticated_data": b"aad",
                 "additional_authenticated_data_crc32c": crc(b"aad")}
    )
    assert sealed.name == f"{key}/cryptoKeyVersions/1" and sealed.protection_level.name == level
    assert sealed.verified_plaintext_crc32c and sealed.verified_additional_authenticated_data_crc32c
    assert sealed.ciphertext_crc32c == crc(sealed.ciphertext)
    open = lambda name=key, ciphertext=sealed.ciphertext, aad=b"aad": emulator.kms.decrypt(
        request={"name": name, "ciphertext": ciphertext, "ciphertext_crc32c": crc(ciphertext), "additional_authenticated_data": aad}
    )
    opened = open()
    assert (opened.plaintext, opened.plaintext_crc32c, opened.used_primary) == (b"plain", crc(b"plain"), True)
    flipped = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
    for wrong in ({"name": other}, {"aad": b"other"}, {"aad": b""}, {"ciphertext": flipped}, {"ciphertext": b"\x0a"}, {"ciphertext": b"x" * 50}):
        with refused("INVALID_ARGUMENT"):
            open(**wrong)


# contract: gcp.use
def test_an_old_version_decrypts_and_a_disabled_one_does_not(emulator, ring):
    key = emulator.key(ring)
    old = emulator.kms.encrypt(name=key, plaintext=b"old").ciphertext
    emulator.kms.create_crypto_key_version(parent=key, crypto_key_version={})
    emulator.kms.update_crypto_key_primary_version(name=key, crypto_key_version_id="2")
    opened = emulator.kms.decrypt(name=key, ciphertext=old)
    assert (opened.plaintext, opened.used_primary) == (b"old", False)
    version = {"name": f"{key}/cryptoKeyVersions/1", "state": "DISABLED"}
    emulator.kms.update_crypto_key_version(crypto_key_version=version, update_mask={"paths": ["state"]})
    with refused("FAILED_PRECONDITION", says="DISABLED"):
        emulator.kms.decrypt(name=key, ciphertext=old)
    with refused("FAILED_PRECONDITION", says="DISABLED"):
        emulator.kms.encrypt(name=version["name"], plaintext=b"x")


# contract: gcp.use
def test_plaintexts_have_their_limits(emulator, ring):
    software, hsm = emulator.key(ring), emulator.key(ring, level="HSM")
    emulator.kms.encrypt(request={"name": software, "plaintext": bytes(65536), "additional_authenticated_data": bytes(65536)})
    emulator.kms.encrypt(request={"name": hsm, "plaintext": bytes(4096), "additional_authenticated_data": bytes(4096)})
    for name, plaintext, context in ((software, 65537, 0), (software, 1, 65537), (hsm, 4096, 4097)):
        with refused("INVALID_ARGUMENT"):
            emulator.kms.encrypt(
                request={"name": name, "plaintext": bytes(plaintext), "additional_authenticated_data": bytes(context)}
            )


# contract: gcp.crc32c
def test_a_wrong_checksum_is_refused_wherever_it_stands(emulator, ring):
    key = emulator.key(ring)
    sealed = emulator.kms.encrypt(name=key, plaintext=b"x")
    assert not sealed.verified_plaintext_crc32c
    with refused("INVALID_ARGUMENT", says="plaintextCrc32c"):
        emulator.kms.encrypt(request={"name": key, "plaintext": b"x", "plaintext_crc32c": crc(b"y")})
    with refused("INVALID_ARGUMENT"):
        emulator.kms.encrypt(request={"name": key, "plaintext": b"x", "additional_authenticated_data_crc32c": crc(b"y")})
    with refused("INVALID_ARGUMENT"):
        emulator.kms.decrypt(request={"name": key, "ciphertext": sealed.ciphertext, "ciphertext_crc32c": 1})
    mac = emulator.key(ring, purpose="MAC", algorithm="HMAC_SHA256") + "/cryptoKeyVersions/1"
    with refused("INVALID_ARGUMENT"):
        emulator.kms.mac_sign(request={"name": mac, "data": b"x", "data_crc32c": 1})
    with refused("INVALID_ARGUMENT"):
        emulator.kms.mac_verify(request={"name": mac, "data": b"x", "mac": b"y", "mac_crc32c": 1})
    sign = emulator.key(ring, purpose="ASYMMETRIC_SIGN", algorithm="EC_SIGN_P256_SHA256") + "/cryptoKeyVersions/1"
    with refused("INVALID_ARGUMENT"):
        emulator.kms.asymmetric_sign(request={"name": sign, "digest": {"sha256": digest(b"x")}, "digest_crc32c": 1})


# contract: gcp.use
@pytest.mark.parametrize("length, name", [(16, "AES_128"), (32, "AES_256")])
def test_raw_keys_compute_what_anybody_with_their_bytes_does(emulator, ring, length, name):
    material, iv, blocks = os.urandom(length), os.urandom(16), os.urandom(48)
    gcm = imported(emulator, ring, material, "RAW_ENCRYPT_DECRYPT", f"{name}_GCM")
    sealed = emulator.kms.raw_encrypt(
        request={"name": gcm, "plaintext": b"plain", "plaintext_crc32c": crc(b"plain"), "additional_authenticated_data": b"aad"}
    )
    assert (len(sealed.initialization_vector), sealed.tag_length, sealed.verified_plaintext_crc32c) == (12, 16, True)
    assert sealed.initialization_vector_crc32c == crc(sealed.initialization_vector)
    assert AESGCM(material).decrypt(sealed.initialization_vector, sealed.ciphertext, b"aad") == b"plain"
    theirs = AESGCM(material).encrypt(iv[:12], b"theirs", b"aad")
    open = lambda **fields: emulator.kms.raw_decrypt(
        request={"name": gcm, "ciphertext": theirs, "initialization_vector": iv[:12], "additional_authenticated_data": b"aad", **fields}
    )
    assert open().plaintext == b"theirs"
    for wrong in ({"additional_authenticated_data": b""}, {"initialization_vector": bytes(12)}, {"tag_length": 12}):
        with refused("INVALID_ARGUMENT"):
            open(**wrong)
    with refused("INVALID_ARGUMENT"):
        emulator.kms.raw_encrypt(request={"name": gcm, "plaintext": b"x", "initialization_vector": iv[:12]})
    for suffix, mode in (("CBC", modes.CBC(iv)), ("CTR", modes.CTR(iv))):
        key = imported(emulator, ring, material, "RAW_ENCRYPT_DECRYPT", f"{name}_{suffix}")
        encryptor = Cipher(algorithms.AES(material), mode).encryptor()
        expected = encryptor.update(blocks) + encryptor.finalize()
        answer = emulator.kms.raw_encrypt(
            request={"name": key, "plaintext": blocks, "initialization_vector": iv, "initialization_vector_crc32c": crc(iv)}
        )
        assert (answer.ciphertext, answer.initialization_vector) == (expected, iv)
        assert answer.verified_initialization_vector_crc32c and not answer.tag_length
        back = emulator.kms.raw_decrypt(request={"name": key, "ciphertext": expected, "initialization_vector": iv})
        assert (back.plaintext, back.plaintext_crc32c) == (blocks, crc(blocks))


# contract: gcp.use
@pytest.mark.parametrize(
    "algorithm, hash",
    [
        ("HMAC_SHA1", hashes.SHA1()), ("HMAC_SHA224", hashes.SHA224()), ("HMAC_SHA256", SHA256),
        ("HMAC_SHA384", hashes.SHA384()), ("HMAC_SHA512", hashes.SHA512()),
    ],
)
def test_codes_are_those_of_the_imported_key(emulator, ring, algorithm, hash):
    material = os.urandom(hash.digest_size)
    name = imported(emulator, ring, material, "MAC", algorithm)
    expected = hmac.HMAC(material, hash)
    expected.update(b"data")
    signed = emulator.kms.mac_sign(request={"name": name, "data": b"data", "data_crc32c": crc(b"data")})
    assert signed.mac == expected.finalize() and signed.mac_crc32c == crc(signed.mac) and signed.verified_data_crc32c
    verify = lambda **fields: emulator.kms.mac_verify(
        request={"name": name, "data": b"data", "mac": signed.mac, "mac_crc32c": crc(signed.mac), **fields}
    )
    good = verify()
    assert good.success and good.verified_success_integrity and good.verified_mac_crc32c
    bad = verify(data=b"other")
    assert not bad.success and not bad.verified_success_integrity


RSA = [
    (f"RSA_SIGN_{scheme}_{bits}_SHA{hash}", scheme, hash)
    for scheme in ("PSS", "PKCS1")
    for bits, hash in ((2048, 256), (3072, 256), (4096, 256), (4096, 512))
]


# contract: gcp.use
@pytest.mark.parametrize("algorithm, scheme, bits", RSA)
def test_rsa_signatures_verify_and_only_as_their_scheme_says(emulator, ring, algorithm, scheme, bits):
    name = emulator.settled(emulator.key(ring, purpose="ASYMMETRIC_SIGN", algorithm=algorithm) + "/cryptoKeyVersions/1").name
    hash = hashes.SHA512() if bits == 512 else SHA256
    field = f"sha{bits}"
    value = digest(b"message", hash)
    signed = emulator.kms.asymmetric_sign(request={"name": name, "digest": {field: value}, "digest_crc32c": crc(value)})
    assert signed.verified_digest_crc32c and signed.signature_crc32c == crc(signed.signature) and signed.name == name
    pss = padding.PSS(mgf=padding.MGF1(hash), salt_length=padding.PSS.DIGEST_LENGTH)
    right, wrong = (pss, padding.PKCS1v15()) if scheme == "PSS" else (padding.PKCS1v15(), pss)
    key = public(emulator, name)
    key.verify(signed.signature, b"message", right, hash)
    with pytest.raises(InvalidSignature):
        key.verify(signed.signature, b"message", wrong, hash)
    by_data = emulator.kms.asymmetric_sign(request={"name": name, "data": b"message", "data_crc32c": crc(b"message")})
    key.verify(by_data.signature, b"message", right, hash)
    assert by_data.verified_data_crc32c
    other = {"sha256": digest(b"x")} if bits == 512 else {"sha512": digest(b"x", hashes.SHA512())}
    for wrong in ({"digest": other}, {"digest": {field: value[1:]}}, {}, {"digest": {field: value}, "data": b"message"}):
        with refused("INVALID_ARGUMENT"):
            emulator.kms.asymmetric_sign(request={"name": name, **wrong})


# contract: gcp.use
@pytest.mark.parametrize("algorithm, hash", [("EC_SIGN_P256_SHA256", SHA256), ("EC_SIGN_P384_SHA384", hashes.SHA384())])
def test_signatures_on_curves_verify(emulator, ring, algorithm, hash):
    name = emulator.key(ring, purpose="ASYMMETRIC_SIGN", algorithm=algorithm) + "/cryptoKeyVersions/1"
    emulator.settled(name)
    key = public(emulator, name)
    # Often enough for numbers with leading zeros and with the highest bit.
    for n in range(40):
        value = digest(bytes([n]), hash)
        signed = emulator.kms.asymmetric_sign(request={"name": name, "digest": {hash.name: value}})
        key.verify(signed.signature, value, ec.ECDSA(utils.Prehashed(hash)))


# contract: gcp.use
def test_ed25519_signs_data(emulator, ring):
    name = emulator.key(ring, purpose="ASYMMETRIC_SIGN", algorithm="EC_SIGN_ED25519") + "/cryptoKeyVersions/1"
    emulator.settled(name)
    signed = emulator.kms.asymmetric_sign(request={"name": name, "data": b"message"})
    public(emulator, name).verify(signed.signature, b"message")
    with refused("INVALID_ARGUMENT"):
        emulator.kms.asymmetric_sign(request={"name": name, "digest": {"sha256": digest(b"message")}})


# contract: gcp.use
@pytest.mark.parametrize(
    "algorithm, hash",
    [
        ("RSA_DECRYPT_OAEP_2048_SHA256", SHA256), ("RSA_DECRYPT_OAEP_2048_SHA1", hashes.SHA1()),
        ("RSA_DECRYPT_OAEP_4096_SHA512", hashes.SHA512()),
    ],
)
def test_rsa_decrypts_what_was_encrypted_for_it(emulator, ring, algorithm, hash):
    name = emulator.key(ring, purpose="ASYMMETRIC_DECRYPT", algorithm=algorithm) + "/cryptoKeyVersions/1"
    emulator.settled(name)
    sealed = oaep(public(emulator, name), b"plain", hash)
    opened = emulator.kms.asymmetric_decrypt(request={"name": name, "ciphertext": sealed, "ciphertext_crc32c": crc(sealed)})
    assert (opened.plaintext, opened.plaintext_crc32c, opened.verified_ciphertext_crc32c) == (b"plain", crc(b"plain"), True)
    with refused("INVALID_ARGUMENT"):
        emulator.kms.asymmetric_decrypt(name=name, ciphertext=oaep(public(emulator, name), b"x", hashes.SHA384()))


# contract: gcp.evidence.public
def test_a_public_key_comes_in_either_format(emulator, ring):
    name = emulator.key(ring, purpose="ASYMMETRIC_SIGN", algorithm="EC_SIGN_P256_SHA256") + "/cryptoKeyVersions/1"
    emulator.settled(name)
    get = lambda format: emulator.kms.get_public_key(request={"name": name, "public_key_format": format})
    der, pem = get("DER").public_key, get("PEM").public_key
    assert serialization.load_der_public_key(der.data) == serialization.load_pem_public_key(pem.data)
    assert der.crc32c_checksum == crc(der.data) and not get("DER").pem
    with refused("INVALID_ARGUMENT"):
        get("NIST_PQC")


# contract: gcp.use
def test_keys_serve_their_purpose_alone(emulator, ring):
    symmetric = emulator.key(ring)
    mac = emulator.key(ring, purpose="MAC", algorithm="HMAC_SHA256")
    version = "/cryptoKeyVersions/1"
    for call in (
        lambda: emulator.kms.encrypt(name=mac, plaintext=b"x"),
        lambda: emulator.kms.encrypt(name=mac + version, plaintext=b"x"),
        lambda: emulator.kms.decrypt(name=mac, ciphertext=b"x"),
        lambda: emulator.kms.mac_sign(name=symmetric + version, data=b"x"),
        lambda: emulator.kms.asymmetric_sign(name=symmetric + version, digest={"sha256": digest(b"x")}),
        lambda: emulator.kms.get_public_key(name=symmetric + version),
        lambda: emulator.kms.raw_encrypt(request={"name": symmetric + version, "plaintext": b"x"}),
        lambda: emulator.kms.asymmetric_decrypt(name=mac + version, ciphertext=b"x"),
    ):
        with refused("FAILED_PRECONDITION"):
            call()


# contract: gcp.version.states
def test_a_generated_pair_is_pending_for_a_while(start):
    emulator = start("--no-quotas")
    emulator.read(generation_millis=1_000_000)
    name = emulator.key(emulator.ring(), purpose="ASYMMETRIC_SIGN", algorithm="EC_SIGN_P256_SHA256") + "/cryptoKeyVersions/1"
    assert emulator.version(name).state.name == "PENDING_GENERATION"
    with refused("FAILED_PRECONDITION", says="PENDING_GENERATION"):
        emulator.kms.get_public_key(name=name)
    emulator.advance(seconds=1000)
    assert emulator.version(name).state.name == "ENABLED" and emulator.version(name).generate_time
