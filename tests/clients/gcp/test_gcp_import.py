"""Import jobs, and what is imported with them; above all what must not get in."""

import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap, aes_key_wrap_with_padding
from gcp_names import LOCATION
from gcp_refused import refused
from gcp_wrap import SHA1, SHA256, digest_of, oaep, pkcs8, public_key, spki, wrap

KEY = bytes(range(32))
METHODS = [
    "RSA_OAEP_3072_SHA1_AES_256",
    "RSA_OAEP_4096_SHA1_AES_256",
    "RSA_OAEP_3072_SHA256_AES_256",
    "RSA_OAEP_4096_SHA256_AES_256",
    "RSA_OAEP_3072_SHA256",
    "RSA_OAEP_4096_SHA256",
]
WITH_AES = [method for method in METHODS if method.endswith("AES_256")]


@pytest.fixture(scope="module")
def jobs(emulator):
    """A key ring with a job of each method."""
    ring = emulator.ring()
    return ring, {method: emulator.job(ring, method) for method in METHODS}


@pytest.fixture(scope="module")
def private():
    """A private key of each kind; making RSA keys takes its time."""
    return {
        "rsa2048": rsa.generate_private_key(65537, 2048),
        "rsa3072": rsa.generate_private_key(65537, 3072),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "k1": ec.generate_private_key(ec.SECP256K1()),
        "ed": ed25519.Ed25519PrivateKey.generate(),
    }


def sha256(material):
    digest = hashes.Hash(SHA256)
    digest.update(material)
    return digest.finalize().hex()


def held(emulator, version):
    """SHA-256 of what a version holds, as the emulator knows it."""
    key, number = version.name.rsplit("/cryptoKeyVersions/")
    dumped = next(dumped for dumped in emulator.control("GET", "dump")["keys"] if dumped["name"] == key)
    return next(material["sha256"] for material in dumped["materials"] if material["id"] == number)


# contract: gcp.import.methods, gcp.import.payload, gcp.import.version
@pytest.mark.parametrize("method", METHODS)
def test_every_method_brings_the_very_key(emulator, jobs, method):
    ring, job = jobs[0], jobs[1][method]
    key = emulator.shell(ring)
    wrapped = wrap(job, KEY)
    size = 384 if "3072" in method else 512
    assert len(wrapped) == size + (40 if method in WITH_AES else 0)
    version = emulator.bring(key, job, wrapped)
    assert version.state.name == "ENABLED", version.import_failure_reason
    assert (version.import_job, version.algorithm.name) == (job.name, "GOOGLE_SYMMETRIC_ENCRYPTION")
    assert version.import_time and not version.generate_time and not version.reimport_eligible
    assert held(emulator, version) == sha256(KEY)


# contract: gcp.import.methods
def test_the_older_field_serves_as_well_and_not_both(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.shell(ring)
    request = {"parent": key, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "import_job": job.name}
    wrapped = wrap(job, KEY)
    version = emulator.kms.import_crypto_key_version(request={**request, "rsa_aes_wrapped_key": wrapped})
    assert emulator.settled(version.name).state.name == "ENABLED"
    for fields in ({}, {"wrapped_key": wrapped, "rsa_aes_wrapped_key": wrapped}):
        with refused("INVALID_ARGUMENT"):
            emulator.kms.import_crypto_key_version(request={**request, **fields})


# contract: gcp.import.methods
@pytest.mark.parametrize("kem", ["ML_KEM_768", "ML_KEM_1024", "XWING"])
def test_methods_on_hpke_are_refused_by_type(emulator, ring, kem):
    with refused("UNIMPLEMENTED", 501):
        emulator.job(ring, f"HPKE_KEM_{kem}_HKDF_SHA256_AES_256_GCM")


# contract: gcp.import.job
def test_a_job_is_generated_then_active_then_expired(start):
    emulator = start("--no-quotas")
    ring = emulator.ring()
    emulator.read(job_millis=1_000_000)
    created = emulator.kms.create_import_job(
        parent=ring, import_job_id="j", import_job={"import_method": METHODS[2], "protection_level": "SOFTWARE"}
    )
    assert created.state.name == "PENDING_GENERATION" and not created.public_key.pem and not created.generate_time
    look = lambda: emulator.kms.get_import_job(name=created.name)
    assert (look().expire_time - look().create_time).total_seconds() == 3 * 86400
    # Real time goes on as well: both moments lie well off the thousandth second.
    emulator.advance(seconds=800)
    assert look().state.name == "PENDING_GENERATION"
    emulator.advance(seconds=200)
    active = look()
    assert active.state.name == "ACTIVE" and active.generate_time
    assert public_key(active).key_size == 3072
    emulator.advance(days=3)
    expired = look()
    assert expired.state.name == "EXPIRED" and not expired.public_key.pem
    assert expired.expire_event_time == expired.expire_time


# contract: gcp.import.job
def test_a_job_has_an_id_of_the_callers_and_belongs_to_a_ring(emulator, ring):
    create = lambda id, **fields: emulator.kms.create_import_job(
        parent=ring, import_job_id=id, import_job={"import_method": METHODS[2], "protection_level": "SOFTWARE", **fields}
    )
    assert create("kp-1").name == f"{ring}/importJobs/kp-1"
    with refused("ALREADY_EXISTS", 409):
        create("kp-1")
    for bad in ("a/b", "a b", "x" * 64):
        with refused("INVALID_ARGUMENT"):
            create(bad)
    for fields in ({"import_method": 0}, {"protection_level": 0}):
        with refused("INVALID_ARGUMENT"):
            create("unspecified", **fields)
    with refused("UNIMPLEMENTED"):
        create("external", protection_level="EXTERNAL")
    with refused("NOT_FOUND"):
        emulator.kms.create_import_job(
            parent=f"{LOCATION}/keyRings/none", import_job_id="j",
            import_job={"import_method": METHODS[2], "protection_level": "SOFTWARE"},
        )
    create("kp-2")
    assert [job.name[-4:] for job in emulator.kms.list_import_jobs(parent=ring)] == ["kp-1", "kp-2"]


# contract: gcp.import.job
def test_a_wrapping_key_comes_as_text_or_as_der(emulator, jobs):
    job = jobs[1]["RSA_OAEP_3072_SHA256"]
    get = lambda format: emulator.kms.get_import_job(request={"name": job.name, "public_key_format": format}).public_key
    assert get("PEM").pem == job.public_key.pem
    assert get("DER").data == spki(public_key(job)) and not get("DER").pem
    with refused("INVALID_ARGUMENT"):
        get("NIST_PQC")


# contract: gcp.import.job
def test_one_job_serves_many_versions_and_keys(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    for key in (emulator.shell(ring), emulator.shell(ring)):
        for number in (1, 2):
            version = emulator.bring(key, job, wrap(job, bytes([number]) * 32))
            assert version.name == f"{key}/cryptoKeyVersions/{number}"
            assert (version.state.name, version.import_job) == ("ENABLED", job.name)


# contract: gcp.import.job
def test_a_job_of_another_level_ring_or_none_is_refused(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    with refused("FAILED_PRECONDITION", says="protection level"):
        emulator.bring(emulator.shell(ring, level="HSM"), job, wrap(job, KEY))
    with refused("INVALID_ARGUMENT"):
        emulator.bring(emulator.shell(emulator.ring()), job, wrap(job, KEY))
    key = emulator.shell(ring)
    request = {"parent": key, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "wrapped_key": wrap(job, KEY)}
    with refused("NOT_FOUND", says="ImportJob"):
        emulator.kms.import_crypto_key_version(request={**request, "import_job": f"{ring}/importJobs/none"})
    with refused("INVALID_ARGUMENT"):
        emulator.kms.import_crypto_key_version(request=request)
    assert list(emulator.kms.list_crypto_key_versions(parent=key)) == []


# contract: gcp.import.version
def test_an_import_is_pending_before_it_is_done(start):
    emulator = start("--no-quotas")
    emulator.read(import_millis=1_000_000)
    ring = emulator.ring()
    key, job = emulator.shell(ring), emulator.job(ring)
    request = {"parent": key, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "import_job": job.name, "wrapped_key": wrap(job, KEY)}
    version = emulator.kms.import_crypto_key_version(request=request)
    pending = emulator.version(version.name)
    assert version.state.name == pending.state.name == "PENDING_IMPORT"
    assert pending.import_job == job.name and not pending.import_time and not pending.reimport_eligible
    with refused("FAILED_PRECONDITION", says="PENDING_IMPORT"):
        emulator.kms.encrypt(name=version.name, plaintext=b"x")
    with refused("FAILED_PRECONDITION"):
        emulator.kms.import_crypto_key_version(request={**request, "crypto_key_version": version.name})
    with refused("FAILED_PRECONDITION"):
        emulator.kms.destroy_crypto_key_version(name=version.name)
    emulator.advance(seconds=1000)
    assert emulator.version(version.name).state.name == "ENABLED"


# contract: gcp.import.repeat
def test_a_blind_retry_makes_a_duplicate_that_the_job_tells(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key, wrapped = emulator.shell(ring), wrap(job, KEY)
    emulator.bring(key, job, wrapped)
    emulator.bring(key, job, wrapped)
    versions = list(emulator.kms.list_crypto_key_versions(parent=key))
    assert [version.name.rsplit("/")[-1] for version in versions] == ["1", "2"]
    assert [version.import_job for version in versions] == [job.name, job.name]


# contract: gcp.primary
def test_an_import_does_not_move_the_primary_version(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.shell(ring)
    first = emulator.bring(key, job, wrap(job, KEY))
    assert not emulator.kms.get_crypto_key(name=key).primary.name
    with refused("FAILED_PRECONDITION", says="primary"):
        emulator.kms.encrypt(name=key, plaintext=b"x")
    emulator.kms.update_crypto_key_primary_version(name=key, crypto_key_version_id="1")
    emulator.bring(key, job, wrap(job, b"2" * 32))
    assert emulator.kms.get_crypto_key(name=key).primary.name == first.name
    assert emulator.kms.encrypt(name=key, plaintext=b"x").name == first.name


def damaged(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def rsa_aes(job, material, *, kek=None, inner=None, **how):
    """RSA-AES with one thing done otherwise."""
    kek = kek or os.urandom(32)
    return oaep(public_key(job), kek, **{"digest": digest_of(job), **how}) + (inner or aes_key_wrap_with_padding)(kek, material)


WRONG_WRAPPINGS = {
    "the other hash": lambda job: rsa_aes(job, KEY, digest=SHA1 if digest_of(job) is SHA256 else SHA256),
    "the other hash for MGF1": lambda job: rsa_aes(job, KEY, mgf=SHA1 if digest_of(job) is SHA256 else SHA256),
    "a hash that no method has": lambda job: rsa_aes(job, KEY, digest=hashes.SHA384()),
    "a label": lambda job: rsa_aes(job, KEY, label=b"label"),
    "an AES key of 128 bits": lambda job: rsa_aes(job, KEY, kek=os.urandom(16)),
    "an AES key of 192 bits": lambda job: rsa_aes(job, KEY, kek=os.urandom(24)),
    "the key wrap without padding": lambda job: rsa_aes(job, KEY, inner=aes_key_wrap),
    "no wrap inside": lambda job: rsa_aes(job, KEY, inner=lambda kek, material: material),
    "no AES key between": lambda job: oaep(public_key(job), KEY, digest_of(job)),
    "an RSA part that was changed": lambda job: damaged(wrap(job, KEY), 5),
    "an AES part that was changed": lambda job: damaged(wrap(job, KEY), -5 % len(wrap(job, KEY))),
    "a byte too few": lambda job: wrap(job, KEY)[:-1],
    "a byte too many": lambda job: wrap(job, KEY) + b"\0",
    "a byte before": lambda job: b"\0" + wrap(job, KEY),
    "random bytes": lambda job: os.urandom(len(wrap(job, KEY))),
    "the key in the clear": lambda job: KEY,
}


# contract: gcp.import.payload, gcp.import.failures
@pytest.mark.parametrize("method", WITH_AES)
@pytest.mark.parametrize("wrong", WRONG_WRAPPINGS)
def test_a_wrong_wrapping_fails_and_leaves_no_key(emulator, jobs, method, wrong):
    ring, job = jobs[0], jobs[1][method]
    version = emulator.bring(emulator.shell(ring), job, WRONG_WRAPPINGS[wrong](job))
    assert version.state.name == "IMPORT_FAILED"
    assert version.import_failure_reason and version.reimport_eligible and not version.import_time
    assert held(emulator, version) is None


# contract: gcp.import.payload
@pytest.mark.parametrize("method", ["RSA_OAEP_3072_SHA256", "RSA_OAEP_4096_SHA256"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda job: oaep(public_key(job), KEY, SHA1),
        lambda job: oaep(public_key(job), KEY, SHA256, mgf=SHA1),
        lambda job: oaep(public_key(job), KEY, SHA256, label=b"x"),
        lambda job: damaged(wrap(job, KEY), 100),
        lambda job: wrap(job, KEY)[1:],
        lambda job: b"\0" + wrap(job, KEY),
    ],
)
def test_a_wrong_direct_wrapping_fails_as_well(emulator, jobs, method, wrong):
    ring, job = jobs[0], jobs[1][method]
    assert emulator.bring(emulator.shell(ring), job, wrong(job)).state.name == "IMPORT_FAILED"


# contract: gcp.import.job
def test_what_was_wrapped_for_another_job_fails(emulator, ring):
    one, other = emulator.job(ring), emulator.job(ring)
    assert one.public_key.pem != other.public_key.pem
    key = emulator.shell(ring)
    assert emulator.bring(key, one, wrap(other, KEY)).state.name == "IMPORT_FAILED"
    assert emulator.bring(key, one, wrap(one, KEY)).state.name == "ENABLED"


# contract: gcp.import.lengths
@pytest.mark.parametrize(
    "purpose, algorithm, good",
    [
        ("ENCRYPT_DECRYPT", "GOOGLE_SYMMETRIC_ENCRYPTION", 32),
        ("RAW_ENCRYPT_DECRYPT", "AES_128_GCM", 16),
        ("RAW_ENCRYPT_DECRYPT", "AES_256_GCM", 32),
        ("RAW_ENCRYPT_DECRYPT", "AES_128_CBC", 16),
        ("RAW_ENCRYPT_DECRYPT", "AES_256_CTR", 32),
        ("MAC", "HMAC_SHA1", 20),
        ("MAC", "HMAC_SHA224", 28),
        ("MAC", "HMAC_SHA256", 32),
        ("MAC", "HMAC_SHA384", 48),
        ("MAC", "HMAC_SHA512", 64),
    ],
)
def test_secret_keys_have_their_length_and_no_other(emulator, jobs, purpose, algorithm, good):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.shell(ring, purpose=purpose, algorithm=algorithm)
    for length in sorted({good, good - 1, good + 1, 1, 16, 24, 32, 64}):
        material = os.urandom(length)
        version = emulator.bring(key, job, wrap(job, material), algorithm)
        assert version.state.name == ("ENABLED" if length == good else "IMPORT_FAILED"), length
        assert held(emulator, version) == (sha256(material) if length == good else None)


PRIVATE = [
    ("ASYMMETRIC_SIGN", "RSA_SIGN_PSS_2048_SHA256", "rsa2048"),
    ("ASYMMETRIC_SIGN", "RSA_SIGN_PKCS1_3072_SHA256", "rsa3072"),
    ("ASYMMETRIC_DECRYPT", "RSA_DECRYPT_OAEP_2048_SHA256", "rsa2048"),
    ("ASYMMETRIC_SIGN", "EC_SIGN_P256_SHA256", "p256"),
    ("ASYMMETRIC_SIGN", "EC_SIGN_P384_SHA384", "p384"),
    ("ASYMMETRIC_SIGN", "EC_SIGN_ED25519", "ed"),
]


# contract: gcp.import.payload, gcp.evidence.public
@pytest.mark.parametrize("purpose, algorithm, good", PRIVATE)
def test_private_keys_are_pkcs8_of_their_algorithm(emulator, jobs, private, purpose, algorithm, good):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.shell(ring, purpose=purpose, algorithm=algorithm)
    for kind in private:
        version = emulator.bring(key, job, wrap(job, pkcs8(private[kind])), algorithm)
        assert version.state.name == ("ENABLED" if kind == good else "IMPORT_FAILED"), kind
        if kind == good:
            shown = emulator.kms.get_public_key(request={"name": version.name, "public_key_format": "DER"})
            assert shown.public_key.data == spki(private[kind].public_key())


# contract: gcp.import.payload
@pytest.mark.parametrize("kind, algorithm", [("p256", "EC_SIGN_P256_SHA256"), ("rsa2048", "RSA_SIGN_PSS_2048_SHA256")])
def test_nothing_but_one_pkcs8_structure_is_a_private_key(emulator, jobs, private, kind, algorithm):
    from cryptography.hazmat.primitives import serialization as s

    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.shell(ring, purpose="ASYMMETRIC_SIGN", algorithm=algorithm)
    good, clear = pkcs8(private[kind]), s.NoEncryption()
    for what, wrong in {
        "zeros behind it": good + bytes(8),
        "one byte behind it": good + b"\0",
        "an end too early": good[:-1],
        "PEM": private[kind].private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, clear),
        "the format of before": private[kind].private_bytes(s.Encoding.DER, s.PrivateFormat.TraditionalOpenSSL, clear),
        "under a password": private[kind].private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x")),
        "its public half": spki(private[kind].public_key()),
        "raw bytes": KEY,
    }.items():
        assert emulator.bring(key, job, wrap(job, wrong), algorithm).state.name == "IMPORT_FAILED", what


# contract: gcp.import.methods
def test_rsa_keys_do_not_go_through_rsa_directly_and_others_do(emulator, jobs, private):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_4096_SHA256"]
    for purpose, algorithm in (("ASYMMETRIC_SIGN", "RSA_SIGN_PSS_2048_SHA256"), ("ASYMMETRIC_DECRYPT", "RSA_DECRYPT_OAEP_2048_SHA256")):
        with refused("INVALID_ARGUMENT"):
            emulator.bring(emulator.shell(ring, purpose=purpose, algorithm=algorithm), job, b"x" * 512, algorithm)
    for algorithm, kind in (("EC_SIGN_P256_SHA256", "p256"), ("EC_SIGN_P384_SHA384", "p384")):
        key = emulator.shell(ring, purpose="ASYMMETRIC_SIGN", algorithm=algorithm)
        assert emulator.bring(key, job, wrap(job, pkcs8(private[kind])), algorithm).state.name == "ENABLED"
    key = emulator.shell(ring, purpose="MAC", algorithm="HMAC_SHA512")
    assert emulator.bring(key, job, wrap(job, os.urandom(64)), "HMAC_SHA512").state.name == "ENABLED"


# contract: gcp.import.payload
def test_the_curve_of_bitcoin_is_for_hsms_alone(emulator, ring, private):
    for level, state in (("SOFTWARE", "IMPORT_FAILED"), ("HSM", "ENABLED")):
        key = emulator.shell(ring, purpose="ASYMMETRIC_SIGN", algorithm="EC_SIGN_P256_SHA256", level=level)
        job = emulator.job(ring, level=level)
        version = emulator.bring(key, job, wrap(job, pkcs8(private["k1"])), "EC_SIGN_SECP256K1_SHA256")
        assert version.state.name == state


# contract: gcp.import.version
def test_an_imported_algorithm_serves_the_purpose_not_the_template(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.shell(ring, purpose="MAC", algorithm="HMAC_SHA256")
    version = emulator.bring(key, job, wrap(job, os.urandom(64)), "HMAC_SHA512")
    assert (version.state.name, version.algorithm.name) == ("ENABLED", "HMAC_SHA512")
    for algorithm in ("GOOGLE_SYMMETRIC_ENCRYPTION", "EC_SIGN_P256_SHA256"):
        with refused("INVALID_ARGUMENT"):
            emulator.bring(key, job, wrap(job, KEY), algorithm)
    with refused("INVALID_ARGUMENT"):
        emulator.bring(key, job, wrap(job, KEY), "CRYPTO_KEY_VERSION_ALGORITHM_UNSPECIFIED")
    with refused("UNIMPLEMENTED", 501):
        emulator.bring(key, job, wrap(job, KEY), "PQ_SIGN_ML_DSA_65")


# contract: gcp.import.again
def test_a_failed_import_is_made_good_in_the_same_version(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.shell(ring)
    failed = emulator.bring(key, job, b"nonsense" * 53)
    assert (failed.state.name, failed.reimport_eligible) == ("IMPORT_FAILED", True)
    again = emulator.bring(key, job, wrap(job, KEY), crypto_key_version=failed.name)
    assert (again.name, again.state.name, again.reimport_eligible) == (failed.name, "ENABLED", False)
    assert not again.import_failure_reason and held(emulator, again) == sha256(KEY)
    assert len(list(emulator.kms.list_crypto_key_versions(parent=key))) == 1


# contract: gcp.import.again
def test_a_destroyed_version_takes_its_own_material_and_no_other(start):
    emulator = start("--no-quotas", "--pending-millis", "0")
    ring = emulator.ring()
    key, job = emulator.shell(ring, purpose="MAC", algorithm="HMAC_SHA256"), emulator.job(ring)
    version = emulator.bring(key, job, wrap(job, KEY), "HMAC_SHA256")
    code = emulator.kms.mac_sign(name=version.name, data=b"x").mac
    again = lambda material, algorithm="HMAC_SHA256": emulator.bring(
        key, job, wrap(job, material), algorithm, crypto_key_version=version.name
    )
    with refused("FAILED_PRECONDITION"):
        again(KEY)
    emulator.kms.destroy_crypto_key_version(name=version.name)
    assert not emulator.version(version.name).reimport_eligible
    with refused("FAILED_PRECONDITION"):
        again(KEY)
    emulator.advance(days=30)
    job = emulator.job(ring)
    assert emulator.version(version.name).reimport_eligible
    with refused("INVALID_ARGUMENT"):
        again(os.urandom(64), "HMAC_SHA512")
    other = again(b"other" * 6 + b"..")
    assert (other.state.name, other.reimport_eligible) == ("IMPORT_FAILED", True)
    assert held(emulator, other) is None
    back = again(KEY)
    assert (back.state.name, back.import_job) == ("ENABLED", job.name) and not back.destroy_event_time
    assert emulator.kms.mac_sign(name=version.name, data=b"x").mac == code


# contract: gcp.import.again
def test_only_a_version_of_the_key_that_was_imported_takes_an_import(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key, other = emulator.shell(ring), emulator.shell(ring)
    failed = emulator.bring(other, job, b"nonsense" * 53)
    with refused("INVALID_ARGUMENT"):
        emulator.bring(key, job, wrap(job, KEY), crypto_key_version=failed.name)
    with refused("NOT_FOUND"):
        emulator.bring(key, job, wrap(job, KEY), crypto_key_version=f"{key}/cryptoKeyVersions/1")
    generated = emulator.key(ring)
    with refused("FAILED_PRECONDITION", says="not imported"):
        emulator.bring(generated, job, wrap(job, KEY), crypto_key_version=f"{generated}/cryptoKeyVersions/1")


# contract: gcp.import.job, gcp.import.failures
@pytest.mark.parametrize(
    "reading, status",
    [("failed_precondition", "FAILED_PRECONDITION"), ("invalid_argument", "INVALID_ARGUMENT"), ("not_found", "NOT_FOUND"), ("import_failed", None)],
)
def test_an_expired_job_brings_nothing_under_any_reading(start, reading, status):
    emulator = start("--no-quotas")
    emulator.read(expired_job=reading)
    ring = emulator.ring()
    key, job = emulator.shell(ring), emulator.job(ring)
    wrapped = wrap(job, KEY)
    emulator.advance(days=3)
    if status:
        with refused(status):
            emulator.bring(key, job, wrapped)
        assert list(emulator.kms.list_crypto_key_versions(parent=key)) == []
    else:
        version = emulator.bring(key, job, wrapped)
        assert version.state.name == "IMPORT_FAILED" and "expired" in version.import_failure_reason
        assert held(emulator, version) is None


# contract: gcp.import.job, gcp.import.failures
@pytest.mark.parametrize("reading", ["failed_precondition", "invalid_argument"])
def test_a_job_that_is_not_ready_brings_nothing(start, reading):
    emulator = start("--no-quotas")
    ring = emulator.ring()
    emulator.read(job_millis=1_000_000, pending_job=reading)
    job = emulator.kms.create_import_job(
        parent=ring, import_job_id="j", import_job={"import_method": METHODS[2], "protection_level": "SOFTWARE"}
    )
    with refused(reading.upper()):
        emulator.bring(emulator.shell(ring), job, os.urandom(424))


# contract: gcp.import.failures
def test_bad_material_may_be_refused_at_once(start):
    emulator = start("--no-quotas")
    emulator.read(bad_material="at_once")
    ring = emulator.ring()
    key, job = emulator.shell(ring), emulator.job(ring)
    for wrapped in (wrap(job, b"short"), b"nonsense" * 53):
        with refused("INVALID_ARGUMENT"):
            emulator.bring(key, job, wrapped)
    assert list(emulator.kms.list_crypto_key_versions(parent=key)) == []
    assert emulator.bring(key, job, wrap(job, KEY)).name.endswith("/1")


# contract: gcp.import.version
def test_an_import_into_a_key_with_generated_versions_is_the_next_one(emulator, jobs):
    ring, job = jobs[0], jobs[1]["RSA_OAEP_3072_SHA256_AES_256"]
    key = emulator.key(ring)
    old = emulator.kms.encrypt(name=key, plaintext=b"old").ciphertext
    assert emulator.bring(key, job, wrap(job, KEY)).name.endswith("/2")
    assert emulator.kms.encrypt(name=key, plaintext=b"x").name.endswith("/1")
    assert emulator.kms.decrypt(name=key, ciphertext=old).plaintext == b"old"
