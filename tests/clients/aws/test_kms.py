"""AWS KMS as boto3, unchanged, sees the emulator.

Key material is wrapped by `cryptography`, which shares no code with the emulator.
"""

import datetime
import hashlib
import itertools
import json
import os
import socket
import time

import botocore.exceptions
import pytest
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding

OAEP = "RSAES_OAEP_SHA_256"
ALGORITHMS = [OAEP, "RSAES_OAEP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1"]
SPECS = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
FOREVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
names = (f"alias/test-{n}" for n in itertools.count())


def wrap(algorithm, public, material, kek=None, hash_name=None):
    hash_name = hash_name or algorithm[-3:].strip("_")
    digest = {"256": hashes.SHA256, "1": hashes.SHA1, "A_1": hashes.SHA1}[hash_name]
    oaep = padding.OAEP(mgf=padding.MGF1(digest()), algorithm=digest(), label=None)
    public = serialization.load_der_public_key(public)
    if algorithm.startswith("RSAES"):
        return public.encrypt(material, oaep)
    kek = kek or os.urandom(32)
    return public.encrypt(kek, oaep) + keywrap.aes_key_wrap_with_padding(kek, material)


def external(kms, **more):
    return kms.create_key(Origin="EXTERNAL", **more)["KeyMetadata"]["KeyId"]


def parameters(kms, key, algorithm=OAEP, spec="RSA_2048"):
    return kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)


def load(kms, key, material, algorithm=OAEP, spec="RSA_2048", given=None, wrapped=None, **more):
    given = given or parameters(kms, key, algorithm, spec)
    wrapped = wrapped or wrap(algorithm, given["PublicKey"], material)
    more = more if "ExpirationModel" in more or "ValidTo" in more else {**FOREVER, **more}
    return kms.import_key_material(
        KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **more
    )


def loaded(kms, material=None):
    key = external(kms)
    load(kms, key, material or os.urandom(32))
    return key


def describe(kms, key):
    return kms.describe_key(KeyId=key)["KeyMetadata"]


def state(kms, key):
    return describe(kms, key)["KeyState"]


def materials(kms, key):
    return kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]


class refused:
    """Expects an error of the service with this code."""

    def __init__(self, code, status=400):
        self.code, self.status = code, status

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        assert kind is not None, f"expected {self.code}, and there was no error"
        if not issubclass(kind, botocore.exceptions.ClientError):
            return False
        assert error.response["Error"]["Code"] == self.code, error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == self.status, error
        self.message = error.response["Error"]["Message"]
        return True


# --- Creating and describing ---------------------------------------------------------------------------------------


def test_an_external_key_starts_pending_import_and_keeps_its_marks(kms):  # contract: aws.import.create
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"},
                                                                 "Action": "kms:*", "Resource": "*"}]})
    made = kms.create_key(Origin="EXTERNAL", Description="ours", Policy=policy,
                          Tags=[{"TagKey": "placement", "TagValue": "p"}, {"TagKey": "attempt", "TagValue": "1"}])
    made = made["KeyMetadata"]
    assert made["KeyState"] == "PendingImport" and made["Enabled"] is False
    assert made["Origin"] == "EXTERNAL" and made["KeySpec"] == "SYMMETRIC_DEFAULT"
    assert "CurrentKeyMaterialId" not in made and "ExpirationModel" not in made
    assert isinstance(made["CreationDate"], datetime.datetime)
    assert made["Arn"] == f"arn:aws:kms:us-east-1:111122223333:key/{made['KeyId']}"
    assert describe(kms, made["Arn"]) == made
    assert kms.get_key_policy(KeyId=made["KeyId"]) ["Policy"] == policy
    tags = kms.list_resource_tags(KeyId=made["KeyId"])
    assert tags["Tags"] == [{"TagKey": "attempt", "TagValue": "1"}, {"TagKey": "placement", "TagValue": "p"}]
    assert tags["Truncated"] is False
    assert kms.list_key_policies(KeyId=made["KeyId"])["PolicyNames"] == ["default"]


def test_a_key_without_material_does_nothing_cryptographic(kms):
    key = external(kms)
    for call in (lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
                 lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
                 lambda: kms.enable_key(KeyId=key), lambda: kms.disable_key(KeyId=key),
                 lambda: kms.rotate_key_on_demand(KeyId=key)):
        with refused("KMSInvalidStateException"):
            call()


def test_a_key_of_aws_takes_no_material(kms):  # contract: aws.import.create
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert state(kms, key) == "Enabled" and "CurrentKeyMaterialId" in describe(kms, key)
    with refused("UnsupportedOperationException"):
        parameters(kms, key)
    with refused("UnsupportedOperationException"):
        kms.import_key_material(KeyId=key, ImportToken=b"x", EncryptedKeyMaterial=b"y", **FOREVER)
    with refused("UnsupportedOperationException"):
        kms.delete_imported_key_material(KeyId=key)


@pytest.mark.parametrize("arguments", [
    {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}, {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
    {"MultiRegion": True}, {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": "cks-1"}])
def test_what_the_emulator_lacks_is_refused_as_unsupported(kms, arguments):
    with refused("UnsupportedOperationException"):
        kms.create_key(**arguments)


@pytest.mark.parametrize("policy, code", [
    ("{nope", "MalformedPolicyDocumentException"), ("[]", "MalformedPolicyDocumentException"),
    ('{"Version": "2012-10-17", "Statement": [{"Effect": "Maybe"}]}', "MalformedPolicyDocumentException"),
    ('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:Encrypt", '
     '"Resource": "*"}]}', "MalformedPolicyDocumentException"),
    ("\u20ac", "ValidationException"), ('{"Version":' + " " * 40_000, "LimitExceededException")])
def test_a_policy_must_be_one_and_must_not_lock_its_author_out(kms, policy, code):
    with refused(code):
        kms.create_key(Policy=policy)
    with refused(code):
        kms.put_key_policy(KeyId=external(kms), Policy=policy)


def test_an_unknown_key_is_not_found(kms):
    nobody = "00000000-0000-0000-0000-000000000000"
    for call in (describe, parameters, materials):
        with refused("NotFoundException"):
            call(kms, nobody)
    with refused("NotFoundException"):
        describe(kms, "alias/nobody")
    with refused("InvalidArnException"):
        describe(kms, "arn:aws:s3:::bucket")
    with refused("NotFoundException"):
        describe(kms, f"arn:aws:kms:eu-west-1:111122223333:key/{nobody}")
    with refused("AccessDeniedException"):
        describe(kms, f"arn:aws:kms:us-east-1:999999999999:key/{nobody}")


# --- Importing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_wrapping_imports(kms, algorithm, spec):  # contract: aws.import.algorithms
    key = external(kms)
    given = parameters(kms, key, algorithm, spec)
    assert given["KeyId"].endswith(key)
    assert serialization.load_der_public_key(given["PublicKey"]).key_size == SPECS[spec]
    lifetime = given["ParametersValidTo"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(hours=23, minutes=59) < lifetime <= datetime.timedelta(hours=24)
    imported = load(kms, key, os.urandom(32), algorithm, given=given)
    assert imported["KeyId"].endswith(key)
    after = describe(kms, key)
    assert after["KeyState"] == "Enabled" and after["CurrentKeyMaterialId"] == imported["KeyMaterialId"]
    assert after["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE" and "ValidTo" not in after
    blob = kms.encrypt(KeyId=key, Plaintext=b"hello")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"hello"


def test_retired_wrappings_are_refused(kms):  # contract: aws.import.algorithms
    key = external(kms)
    with refused("UnsupportedOperationException"):
        parameters(kms, key, "RSAES_PKCS1_V1_5")
    with refused("ValidationException"):
        parameters(kms, key, "ROT13")
    with refused("ValidationException"):
        parameters(kms, key, spec="RSA_1024")


def test_what_is_wrapped_wrongly_is_invalid_ciphertext(kms):
    key, material = external(kms), os.urandom(32)
    flip = lambda wrapped, at: wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1:]
    for spec in SPECS:
        given = parameters(kms, key, OAEP, spec)
        good = wrap(OAEP, given["PublicKey"], material)
        wrong = [os.urandom(len(good)), os.urandom(16), flip(good, 100), good[:-1], good + b"\0",
                 wrap("RSAES_OAEP_SHA_1", given["PublicKey"], material),
                 wrap("RSA_AES_KEY_WRAP_SHA_256", given["PublicKey"], material)]
        for wrapped in wrong:
            with refused("InvalidCiphertextException"):
                load(kms, key, None, given=given, wrapped=wrapped)
    given = parameters(kms, key, "RSA_AES_KEY_WRAP_SHA_256")
    good = wrap("RSA_AES_KEY_WRAP_SHA_256", given["PublicKey"], material)
    for wrapped in [good[:256], good[:-8], good + bytes(8), flip(good, 256), flip(good, len(good) - 1),
                    wrap("RSA_AES_KEY_WRAP_SHA_256", given["PublicKey"], material, kek=os.urandom(16)),
                    wrap(OAEP, given["PublicKey"], material)]:
        with refused("InvalidCiphertextException"):
            load(kms, key, None, given=given, wrapped=wrapped)
    assert state(kms, key) == "PendingImport"


def test_oaep_is_read_strictly(kms):
    key, material = external(kms), os.urandom(32)
    given = parameters(kms, key)
    public = serialization.load_der_public_key(given["PublicKey"])
    sha256, sha1 = hashes.SHA256(), hashes.SHA1()
    for scheme in (padding.OAEP(mgf=padding.MGF1(sha256), algorithm=sha256, label=b"label"),
                   padding.OAEP(mgf=padding.MGF1(sha1), algorithm=sha256, label=None),
                   padding.OAEP(mgf=padding.MGF1(sha256), algorithm=sha1, label=None), padding.PKCS1v15()):
        with refused("InvalidCiphertextException"):
            load(kms, key, None, given=given, wrapped=public.encrypt(material, scheme))


def test_a_padded_wrap_is_not_mistaken_for_an_unpadded_one(kms):
    # AES-KW (RFC 3394) of 32 bytes has a valid form of its own, and is not AES-KWP.
    key = external(kms)
    given = parameters(kms, key, "RSA_AES_KEY_WRAP_SHA_256")
    kek = os.urandom(32)
    head = wrap("RSA_AES_KEY_WRAP_SHA_256", given["PublicKey"], os.urandom(32), kek=kek)[:256]
    with refused("InvalidCiphertextException"):
        load(kms, key, None, given=given, wrapped=head + keywrap.aes_key_wrap(kek, os.urandom(32)))


@pytest.mark.parametrize("length", [1, 16, 31, 33, 64])
def test_material_of_another_length_is_incorrect(kms, length):  # contract: aws.import.material
    key = external(kms)
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, os.urandom(length))
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, os.urandom(length), "RSA_AES_KEY_WRAP_SHA_256")
    assert state(kms, key) == "PendingImport"


def test_a_token_belongs_to_one_key_and_one_public_key(kms):  # contract: aws.import.parameters, aws.import.token
    one, other = external(kms), external(kms)
    for_one, again = parameters(kms, one), parameters(kms, one)
    with refused("InvalidImportTokenException"):
        load(kms, other, os.urandom(32), given=for_one)
    with refused("InvalidImportTokenException"):
        load(kms, one, os.urandom(32), given={**for_one, "ImportToken": os.urandom(200)})
    assert for_one["PublicKey"] != again["PublicKey"]
    with refused("InvalidCiphertextException"):
        load(kms, one, os.urandom(32), given={**for_one, "PublicKey": again["PublicKey"]})
    # The older of two tokens is as good as the younger, and serves more than once.
    material = os.urandom(32)
    load(kms, one, material, given=for_one)
    load(kms, one, material, given=for_one)
    assert len(materials(kms, one)) == 1


def test_a_token_dies_after_a_day(start):  # contract: aws.import.parameters, aws.import.token
    emulator = start("--no-quotas")
    kms = emulator.client()
    key = external(kms)
    early, late = parameters(kms, key), parameters(kms, key)
    emulator.advance(hours=23, minutes=59)
    load(kms, key, b"k" * 32, given=early)
    emulator.advance(minutes=1, seconds=1)
    with refused("ExpiredImportTokenException"):
        load(kms, key, b"k" * 32, given=late)
    load(kms, key, b"k" * 32)


@pytest.mark.parametrize("expiry", [
    {"ExpirationModel": "KEY_MATERIAL_EXPIRES"}, {"ValidTo": -3600}, {"ValidTo": 365 * 86400 + 600},
    {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE", "ValidTo": 3600}, {"ExpirationModel": "SOON", "ValidTo": 3600}])
def test_expiry_has_its_rules(kms, expiry):  # contract: aws.import.expiry
    if "ValidTo" in expiry:
        expiry = {**expiry, "ValidTo": time.time() + expiry["ValidTo"]}
    with refused("ValidationException"):
        load(kms, external(kms), os.urandom(32), **expiry)


def test_the_default_is_that_material_expires(kms):  # contract: aws.import.expiry
    key = external(kms)
    given = parameters(kms, key)
    wrapped = wrap(OAEP, given["PublicKey"], os.urandom(32))
    with refused("ValidationException"):
        kms.import_key_material(KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped)
    load(kms, key, None, given=given, wrapped=wrapped, ValidTo=time.time() + 3600)
    assert describe(kms, key)["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"


def test_expired_material_comes_back_only_as_the_same_bytes(start):  # contract: aws.import.expiry, aws.import.deletion
    emulator = start("--no-quotas")
    kms = emulator.client()
    key, material = external(kms), os.urandom(32)
    first = load(kms, key, material, ValidTo=time.time() + 3600)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    emulator.advance(minutes=59)
    assert state(kms, key) == "Enabled"
    emulator.advance(minutes=2)
    expired = describe(kms, key)
    assert expired["KeyState"] == "PendingImport" and not expired["Enabled"] and "ValidTo" not in expired
    assert expired["CurrentKeyMaterialId"] == first["KeyMaterialId"]
    assert materials(kms, key)[0]["ImportState"] == "PENDING_IMPORT"
    with refused("KMSInvalidStateException"):
        kms.decrypt(CiphertextBlob=blob)
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, os.urandom(32))
    assert load(kms, key, material)["KeyMaterialId"] == first["KeyMaterialId"]
    assert describe(kms, key)["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_deleted_material_comes_back_only_as_the_same_bytes(kms):  # contract: aws.import.deletion
    material = os.urandom(32)
    key = loaded(kms, material)
    known = describe(kms, key)["CurrentKeyMaterialId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"before")["CiphertextBlob"]
    with refused("NotFoundException"):
        kms.delete_imported_key_material(KeyId=key, KeyMaterialId="0" * 64)
    assert kms.delete_imported_key_material(KeyId=key)["KeyMaterialId"] == known
    assert state(kms, key) == "PendingImport"
    for call in (lambda: kms.decrypt(CiphertextBlob=blob), lambda: kms.encrypt(KeyId=key, Plaintext=b"x")):
        with refused("KMSInvalidStateException"):
            call()
    kms.delete_imported_key_material(KeyId=key)
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, os.urandom(32))
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, material, ImportType="NEW_KEY_MATERIAL")
    load(kms, key, material)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"before"


def test_the_same_bytes_have_another_id_in_another_key(kms):
    material = os.urandom(32)
    ids = {describe(kms, loaded(kms, material))["CurrentKeyMaterialId"] for _ in range(2)}
    assert len(ids) == 2


def test_the_import_type_has_its_rules(kms):  # contract: aws.import.type, aws.import.wrong_material
    key, material = external(kms), os.urandom(32)
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, material, ImportType="EXISTING_KEY_MATERIAL")
    with refused("ValidationException"):
        load(kms, key, material, ImportType="NEW_KEY_MATERIAL", KeyMaterialId="0" * 64)
    # contract: aws.import.description
    known = load(kms, key, material, KeyMaterialDescription="version 1")["KeyMaterialId"]
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, material, ImportType="NEW_KEY_MATERIAL")
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, os.urandom(32))
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, material, KeyMaterialId="0" * 64)
    load(kms, key, material, KeyMaterialId=known)
    load(kms, key, material, ImportType="EXISTING_KEY_MATERIAL")
    assert materials(kms, key) == [{
        "KeyId": key, "KeyMaterialId": known, "KeyMaterialDescription": "version 1", "ImportState": "IMPORTED",
        "KeyMaterialState": "CURRENT", "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}]
    load(kms, key, material, KeyMaterialDescription="renamed")
    assert materials(kms, key)[0]["KeyMaterialDescription"] == "renamed"
    with refused("ValidationException"):
        load(kms, key, material, KeyMaterialDescription="no; semicolons")


def test_deletion_without_an_id_means_the_current_material(kms):  # contract: aws.import.delete_one
    first, second, third = (os.urandom(32) for _ in range(3))
    key = loaded(kms, first)
    load(kms, key, second, ImportType="NEW_KEY_MATERIAL")
    kms.rotate_key_on_demand(KeyId=key)
    pending = load(kms, key, third, ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    one, two, _ = (m["KeyMaterialId"] for m in materials(kms, key))
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]

    def imported():
        return {m["KeyMaterialId"] for m in materials(kms, key) if m["ImportState"] == "IMPORTED"}

    assert kms.delete_imported_key_material(KeyId=key)["KeyMaterialId"] == two
    assert imported() == {one, pending} and state(kms, key) == "PendingImport"
    kms.delete_imported_key_material(KeyId=key, KeyMaterialId=one)
    # Neither one of the two alone brings the key back, nor does what is only pending.
    for material in (second, third):
        load(kms, key, material)
        assert state(kms, key) == "PendingImport"
        with refused("KMSInvalidStateException"):
            kms.decrypt(CiphertextBlob=blob)
    load(kms, key, first)
    assert state(kms, key) == "Enabled" and kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_what_a_region_loses_only_the_owner_can_bring_back(start):  # contract: aws.import.durability
    emulator = start("--no-quotas", "--reveal-material")
    kms = emulator.client()
    first, second = os.urandom(32), os.urandom(32)
    key = loaded(kms, first)
    old = kms.encrypt(KeyId=key, Plaintext=b"v1")["CiphertextBlob"]
    load(kms, key, second, ImportType="NEW_KEY_MATERIAL")
    kms.rotate_key_on_demand(KeyId=key)
    emulator.control("POST", "lose", {"region": "us-east-1"})
    assert state(kms, key) == "PendingImport"
    assert [m["ImportState"] for m in materials(kms, key)] == ["PENDING_IMPORT"] * 2
    dump = json.dumps(emulator.control("GET", "dump"))
    assert first.hex() not in dump and second.hex() not in dump
    emulator.advance(days=400)
    assert state(kms, key) == "PendingImport"
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, os.urandom(32))
    load(kms, key, second)
    load(kms, key, first)
    assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"v1"


# --- Rotation ------------------------------------------------------------------------------------------------------


def test_one_material_at_a_time_is_pending(kms):  # contract: aws.rotation.pending
    key = loaded(kms)
    with refused("KMSInvalidStateException"):
        kms.rotate_key_on_demand(KeyId=key)
    second = os.urandom(32)
    load(kms, key, second, ImportType="NEW_KEY_MATERIAL")
    with refused("KMSInvalidStateException"):
        load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")
    assert len(materials(kms, key)) == 2
    kms.rotate_key_on_demand(KeyId=key)
    # Two rotations for one material: a repeat after a lost reply must not make the old material current again.
    with refused("KMSInvalidStateException"):
        kms.rotate_key_on_demand(KeyId=key)
    load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")
    kms.delete_imported_key_material(KeyId=key, KeyMaterialId=materials(kms, key)[2]["KeyMaterialId"])
    with refused("KMSInvalidStateException"):
        kms.rotate_key_on_demand(KeyId=key)
    assert state(kms, key) == "Enabled"


def test_every_material_has_its_state_and_its_import_state(kms):  # contract: aws.rotation.material_states
    first, second, third = (os.urandom(32) for _ in range(3))
    key = loaded(kms, first)
    by_first = kms.encrypt(KeyId=key, Plaintext=b"x")
    load(kms, key, second, ImportType="NEW_KEY_MATERIAL")
    kms.rotate_key_on_demand(KeyId=key)
    load(kms, key, third, ImportType="NEW_KEY_MATERIAL")

    def states():
        return [(m["KeyMaterialState"], m["ImportState"]) for m in materials(kms, key)]

    assert states() == [("NON_CURRENT", "IMPORTED"), ("CURRENT", "IMPORTED"), ("PENDING_ROTATION", "IMPORTED")]
    one, two, _ = (m["KeyMaterialId"] for m in materials(kms, key))
    # What is not current decrypts and never encrypts; what is pending does neither.
    assert kms.decrypt(CiphertextBlob=by_first["CiphertextBlob"])["KeyMaterialId"] == one
    by_second = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=by_second)["KeyMaterialId"] == two
    for lost in (one, two):
        kms.delete_imported_key_material(KeyId=key, KeyMaterialId=lost)
    assert states() == [("NON_CURRENT", "PENDING_IMPORT"), ("CURRENT", "PENDING_IMPORT"), ("PENDING_ROTATION", "IMPORTED")]
    load(kms, key, second)
    assert states() == [("NON_CURRENT", "PENDING_IMPORT"), ("CURRENT", "IMPORTED"), ("PENDING_ROTATION", "IMPORTED")]


def test_rotation_keeps_the_key_and_decrypts_what_is_old(kms):  # contract: aws.rotation.imported
    first, second = os.urandom(32), os.urandom(32)
    key = external(kms)
    one = load(kms, key, first, KeyMaterialDescription="v1")["KeyMaterialId"]
    old = kms.encrypt(KeyId=key, Plaintext=b"v1")["CiphertextBlob"]
    with refused("KMSInvalidStateException"):
        kms.rotate_key_on_demand(KeyId=key)
    two = load(kms, key, second, ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="v2")["KeyMaterialId"]
    assert [m["KeyMaterialState"] for m in materials(kms, key)] == ["CURRENT", "PENDING_ROTATION"]
    assert describe(kms, key)["CurrentKeyMaterialId"] == one
    with refused("KMSInvalidStateException"):
        load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, second, ImportType="NEW_KEY_MATERIAL")
    assert kms.list_key_rotations(KeyId=key)["Rotations"] == []
    assert kms.rotate_key_on_demand(KeyId=key)["KeyId"] == key
    assert describe(kms, key)["CurrentKeyMaterialId"] == two
    assert [m["KeyMaterialState"] for m in materials(kms, key)] == ["NON_CURRENT", "CURRENT"]
    rotations = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert [(r["KeyMaterialId"], r["RotationType"]) for r in rotations] == [(two, "ON_DEMAND")]
    assert isinstance(rotations[0]["RotationDate"], datetime.datetime)
    assert kms.decrypt(CiphertextBlob=old)["KeyMaterialId"] == one
    new = kms.encrypt(KeyId=key, Plaintext=b"v2")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=new)["KeyMaterialId"] == two
    status = kms.get_key_rotation_status(KeyId=key)
    assert status["KeyRotationEnabled"] is False and "OnDemandRotationStartDate" not in status
    with refused("KMSInvalidStateException"):
        kms.rotate_key_on_demand(KeyId=key)


def test_a_key_is_enabled_only_while_all_its_material_is_there(kms):  # contract: aws.rotation.enabled
    first, second = os.urandom(32), os.urandom(32)
    key = loaded(kms, first)
    load(kms, key, second, ImportType="NEW_KEY_MATERIAL")
    kms.rotate_key_on_demand(KeyId=key)
    one, two = (m["KeyMaterialId"] for m in materials(kms, key))
    kms.delete_imported_key_material(KeyId=key, KeyMaterialId=one)
    assert state(kms, key) == "PendingImport"
    kms.delete_imported_key_material(KeyId=key)
    assert [m["ImportState"] for m in materials(kms, key)] == ["PENDING_IMPORT"] * 2
    load(kms, key, second)
    assert state(kms, key) == "PendingImport"
    load(kms, key, first, KeyMaterialId=one)
    assert state(kms, key) == "Enabled" and describe(kms, key)["CurrentKeyMaterialId"] == two


def test_pending_material_can_be_exchanged(kms):
    key = loaded(kms)
    pending = load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    kms.delete_imported_key_material(KeyId=key, KeyMaterialId=pending)
    assert state(kms, key) == "Enabled" and len(materials(kms, key)) == 1
    load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")


def test_a_key_rotates_twenty_five_times(kms):  # contract: aws.rotation.count
    key = loaded(kms)
    for _ in range(25):
        load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")
        kms.rotate_key_on_demand(KeyId=key)
    load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")
    with refused("LimitExceededException"):
        kms.rotate_key_on_demand(KeyId=key)
    pages = kms.get_paginator("list_key_rotations").paginate(
        KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL", PaginationConfig={"PageSize": 10})
    pages = [[m["KeyMaterialId"] for m in page["Rotations"]] for page in pages]
    assert [len(page) for page in pages] == [10, 10, 7]
    assert len(set(itertools.chain(*pages))) == 27


def test_nothing_rotates_imported_material_by_itself(kms):  # contract: aws.rotation.automatic
    key = loaded(kms)
    for call in (kms.enable_key_rotation, kms.disable_key_rotation):
        with refused("UnsupportedOperationException"):
            call(KeyId=key)


def test_a_slow_rotation_shows_while_it_runs(start):  # contract: aws.import.description
    emulator = start("--no-quotas")
    emulator.control("POST", "readings", {"rotation_seconds": 60})
    kms = emulator.client()
    key = loaded(kms)
    load(kms, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")
    kms.rotate_key_on_demand(KeyId=key)
    assert "OnDemandRotationStartDate" in kms.get_key_rotation_status(KeyId=key)
    assert [m["KeyMaterialState"] for m in materials(kms, key)] == ["CURRENT", "PENDING_ROTATION"]
    with refused("ConflictException"):
        kms.rotate_key_on_demand(KeyId=key)
    emulator.advance(seconds=61)
    assert "OnDemandRotationStartDate" not in kms.get_key_rotation_status(KeyId=key)
    assert [m["KeyMaterialState"] for m in materials(kms, key)] == ["NON_CURRENT", "CURRENT"]


# --- Encrypting and decrypting -------------------------------------------------------------------------------------


def test_the_encryption_context_is_authenticated(kms):
    key = loaded(kms)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"a": "1", "b": "2"})["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"b": "2", "a": "1"})["Plaintext"] == b"x"
    for wrong in ({}, {"a": "1"}, {"a": "2", "b": "1"}, {"a": "1", "b": "2", "c": ""}, {"a": "1b", "": "2"}):
        with refused("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=blob, EncryptionContext=wrong)


def test_a_ciphertext_belongs_to_its_key(kms):
    key, other = loaded(kms), loaded(kms)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, KeyId=key)["KeyId"].endswith(key)
    with refused("IncorrectKeyException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=other)
    for at in (0, 20, 50, len(blob) - 1):
        with refused("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1:])
    with refused("AccessDeniedException"):
        kms.decrypt(CiphertextBlob=blob[:1] + os.urandom(16) + blob[17:])
    with refused("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=b"short")
    again = kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=other, DestinationEncryptionContext={"to": "other"})
    opened = kms.decrypt(CiphertextBlob=again["CiphertextBlob"], EncryptionContext={"to": "other"})
    assert opened["Plaintext"] == b"x" and opened["KeyId"].endswith(other)


def test_data_keys_decrypt_to_themselves(kms):
    key = loaded(kms)
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert len(made["Plaintext"]) == 32
    assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]
    assert len(kms.generate_data_key(KeyId=key, NumberOfBytes=1024)["Plaintext"]) == 1024
    assert "Plaintext" not in kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_128")
    for wrong in ({}, {"KeySpec": "AES_256", "NumberOfBytes": 32}, {"NumberOfBytes": 1025}):
        with refused("ValidationException"):
            kms.generate_data_key(KeyId=key, **wrong)


def test_last_use_is_remembered(kms):  # contract: aws.deletion.last_use
    key = loaded(kms)
    assert kms.get_key_last_usage(KeyId=key)["KeyLastUsage"] == {}
    kms.encrypt(KeyId=key, Plaintext=b"x")
    usage = kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]
    assert usage["Operation"] == "Encrypt" and usage["CloudTrailEventId"]


@pytest.mark.parametrize("arguments", [
    {"Plaintext": b""}, {"Plaintext": b"x" * 4097}, {"Plaintext": b"x", "EncryptionContext": {"a": "x" * 9000}}])
def test_what_is_too_long_or_too_short_is_invalid(emulator, arguments):
    kms = emulator.client(parameter_validation=False)
    with refused("ValidationException"):
        kms.encrypt(KeyId=loaded(kms), **arguments)


# --- Aliases, tags, lists ------------------------------------------------------------------------------------------


def test_an_alias_is_a_lock(kms):
    one, other, alias = external(kms), external(kms), next(names)
    kms.create_alias(AliasName=alias, TargetKeyId=one)
    for target in (one, other):
        with refused("AlreadyExistsException"):
            kms.create_alias(AliasName=alias, TargetKeyId=target)
    assert describe(kms, alias)["KeyId"] == one
    assert describe(kms, f"arn:aws:kms:us-east-1:111122223333:{alias}")["KeyId"] == one
    kms.update_alias(AliasName=alias, TargetKeyId=other)
    assert describe(kms, alias)["KeyId"] == other
    [entry] = kms.list_aliases(KeyId=other)["Aliases"]
    assert entry["AliasName"] == alias and entry["TargetKeyId"] == other and entry["AliasArn"].endswith(alias)
    assert kms.list_aliases(KeyId=one)["Aliases"] == []
    kms.delete_alias(AliasName=alias)
    with refused("NotFoundException"):
        describe(kms, alias)
    for call in (lambda: kms.delete_alias(AliasName=alias), lambda: kms.update_alias(AliasName=alias, TargetKeyId=one)):
        with refused("NotFoundException"):
            call()


@pytest.mark.parametrize("name, code", [
    ("nothing", "InvalidAliasNameException"), ("alias/", "InvalidAliasNameException"),
    ("alias/aws/s3", "InvalidAliasNameException"), ("alias/a b", "ValidationException"),
    ("alias/" + "x" * 256, "ValidationException")])
def test_alias_names_have_their_rules(kms, name, code):
    with refused(code):
        kms.create_alias(AliasName=name, TargetKeyId=external(kms))


def test_operations_on_keys_take_no_alias(kms):
    key, alias = loaded(kms), next(names)
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    with refused("NotFoundException"):
        parameters(kms, alias)
    with refused("InvalidArnException"):
        kms.disable_key(KeyId=f"arn:aws:kms:us-east-1:111122223333:{alias}")
    assert kms.encrypt(KeyId=alias, Plaintext=b"x")["KeyId"].endswith(key)


def test_tags_are_merged_and_removed(kms):
    key = external(kms, Tags=[{"TagKey": "a", "TagValue": "1"}])
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "2"}, {"TagKey": "b", "TagValue": ""}])
    kms.untag_resource(KeyId=key, TagKeys=["b", "never"])
    assert kms.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": "2"}]
    with refused("TagException"):
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
    with refused("TagException"):
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": "x", "TagValue": "1"}, {"TagKey": "x", "TagValue": "2"}])
    with refused("LimitExceededException"):
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": str(n), "TagValue": ""} for n in range(50)])


def test_lists_come_in_pages(start):
    kms = start("--no-quotas").client()
    keys = {external(kms) for _ in range(130)}
    for n, key in enumerate(sorted(keys)):
        kms.create_alias(AliasName=f"alias/page/{n:03}", TargetKeyId=key)
    first = kms.list_keys()
    assert len(first["Keys"]) == 100 and first["Truncated"] and first["NextMarker"]
    for size in (1000, 100, 50, 7):
        pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": size}))
        listed = [key["KeyId"] for page in pages for key in page["Keys"]]
        assert len(listed) == 130 and set(listed) == keys
        assert len(pages) == -(-130 // size)
    aliases = [alias for page in kms.get_paginator("list_aliases").paginate() for alias in page["Aliases"]]
    assert [alias["AliasName"] for alias in aliases] == [f"alias/page/{n:03}" for n in range(130)]
    assert len(kms.list_aliases()["Aliases"]) == 50
    for call in (kms.list_keys, kms.list_aliases):
        with refused("InvalidMarkerException"):
            call(Marker="nope")
    with refused("InvalidMarkerException"):
        kms.list_aliases(Marker=first["NextMarker"])
    for call, limit in ((kms.list_keys, 1001), (kms.list_aliases, 101)):
        with refused("ValidationException"):
            call(Limit=limit)


# --- Switching off, deleting ---------------------------------------------------------------------------------------


def test_a_disabled_key_is_described_and_nothing_else(kms):
    key = loaded(kms)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=key)
    kms.disable_key(KeyId=key)
    assert state(kms, key) == "Disabled"
    for call in (lambda: kms.encrypt(KeyId=key, Plaintext=b"x"), lambda: kms.decrypt(CiphertextBlob=blob),
                 lambda: kms.rotate_key_on_demand(KeyId=key)):
        with refused("DisabledException"):
            call()
    kms.enable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_deletion_waits_and_can_be_called_off(start):  # contract: aws.deletion.waiting
    emulator = start("--no-quotas")
    kms = emulator.client()
    key, shell = loaded(kms), external(kms)
    kms.create_alias(AliasName="alias/doomed", TargetKeyId=key)
    for days in (6, 31):
        with refused("ValidationException"):
            kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=days)
    with refused("KMSInvalidStateException"):
        kms.cancel_key_deletion(KeyId=key)
    planned = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert planned["KeyState"] == "PendingDeletion" and planned["PendingWindowInDays"] == 7
    assert describe(kms, key)["DeletionDate"] == planned["DeletionDate"]
    for call in (lambda: kms.encrypt(KeyId=key, Plaintext=b"x"), lambda: kms.schedule_key_deletion(KeyId=key),
                 lambda: kms.enable_key(KeyId=key), lambda: parameters(kms, key),
                 lambda: kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "b"}]),
                 lambda: kms.create_alias(AliasName="alias/late", TargetKeyId=key)):
        with refused("KMSInvalidStateException"):
            call()
    kms.cancel_key_deletion(KeyId=key)
    assert state(kms, key) == "Disabled"
    assert kms.schedule_key_deletion(KeyId=shell)["PendingWindowInDays"] == 30
    kms.cancel_key_deletion(KeyId=shell)
    assert state(kms, shell) == "PendingImport"
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    emulator.advance(days=6, hours=23)
    assert state(kms, "alias/doomed") == "PendingDeletion"
    emulator.advance(hours=2)
    for name in (key, "alias/doomed"):
        with refused("NotFoundException"):
            describe(kms, name)
    assert kms.list_aliases()["Aliases"] == []


# --- Quotas, credentials, the front --------------------------------------------------------------------------------


def test_import_parameters_come_once_a_second(start):  # contract: aws.quota.requests, aws.quota.throttling
    emulator = start()
    kms = emulator.client(retries={"total_max_attempts": 1})
    key = external(kms)
    parameters(kms, key)
    with refused("ThrottlingException"):
        for _ in range(5):
            parameters(kms, key)
    emulator.advance(seconds=1)
    parameters(kms, key)
    emulator.control("POST", "quotas", {"on": False})
    for _ in range(5):
        parameters(kms, key)


def test_a_wrong_signature_is_refused(start):
    emulator = start("--no-quotas", "--access-key", "AKIDEXAMPLE", "--secret-key", "right")
    assert emulator.client("AKIDEXAMPLE", "right").list_keys()["Keys"] == []
    with refused("InvalidSignatureException"):
        emulator.client("AKIDEXAMPLE", "wrong").list_keys()
    with refused("UnrecognizedClientException"):
        emulator.client("AKIDOTHER", "right").list_keys()
    with refused("InvalidSignatureException"):
        emulator.client("AKIDEXAMPLE", "right", region="eu-west-1").list_keys()


def raw(emulator, target="TrentService.ListKeys", body=b"{}", kind="application/x-amz-json-1.1", signed=True):
    """One request without any client; everything that came back until the connection ended."""
    head = [b"POST / HTTP/1.1", b"Host: x", b"Connection: close", f"X-Amz-Target: {target}".encode(),
            f"Content-Type: {kind}".encode(), f"Content-Length: {len(body)}".encode()]
    if signed:
        head.append(b"Authorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00")
    host, port = emulator.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("request_, code", [
    ({"signed": False}, b"MissingAuthenticationTokenException"),
    ({"target": "TrentService.MakeCoffee"}, b"UnknownOperationException"),
    ({"target": "Other.ListKeys"}, b"UnknownOperationException"),
    ({"kind": "text/plain"}, b"UnknownOperationException"),
    ({"body": b"{"}, b"SerializationException"), ({"body": b"[]"}, b"SerializationException"),
    ({"body": b'{"Limit": "many"}'}, b"SerializationException"),
    ({"body": b'{"Limit": 0}'}, b"ValidationException"),
    ({"target": "TrentService.DescribeKey"}, b"ValidationException"),
    ({"target": "TrentService.Decrypt", "body": b'{"CiphertextBlob": "?"}'}, b"SerializationException")])
def test_what_is_no_request_is_refused_by_name(emulator, request_, code):
    answer = raw(emulator, **request_)
    assert answer.startswith(b"HTTP/1.1 400") and code in answer
    assert b"content-type: application/x-amz-json-1.1" in answer and b"x-amzn-requestid: " in answer


def test_a_body_without_end_is_cut_off(emulator):
    assert raw(emulator, body=b'{"x": "' + b"x" * 2_000_000 + b'"}')[:12] in (b"HTTP/1.1 413", b"")


# --- Faults --------------------------------------------------------------------------------------------------------

once = {"retries": {"total_max_attempts": 1}}


def test_a_lost_reply_has_its_effect(start):
    emulator = start("--no-quotas")
    kms = emulator.client(**once)
    emulator.fault({"kind": "lost_reply"}, operation="CreateKey")
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        external(kms)
    assert len(kms.list_keys()["Keys"]) == 1
    emulator.fault({"kind": "lost_reply"}, operation="ListKeys")
    assert raw(emulator) == b""


def test_a_retry_after_a_lost_reply_makes_a_second_key(start):  # contract: aws.import.create
    emulator = start("--no-quotas")
    kms = emulator.client(**once)
    tags = [{"TagKey": "attempt", "TagValue": "1"}]
    emulator.fault({"kind": "lost_reply"}, operation="CreateKey")
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        external(kms, Tags=tags)
    external(kms, Tags=tags)
    keys = [key["KeyId"] for key in kms.list_keys()["Keys"]]
    assert len(keys) == 2
    # Only the tag that both carry from the beginning tells whose they are.
    assert [kms.list_resource_tags(KeyId=key)["Tags"] for key in keys] == [tags, tags]


def test_new_material_again_after_a_lost_reply_does_no_harm(start):  # contract: aws.import.wrong_material
    emulator = start("--no-quotas")
    kms = emulator.client(**once)
    key, material = loaded(kms), os.urandom(32)
    new = {"ImportType": "NEW_KEY_MATERIAL", "KeyMaterialDescription": "generation 2"}
    emulator.fault({"kind": "lost_reply"}, operation="ImportKeyMaterial")
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        load(kms, key, material, **new)
    with refused("IncorrectKeyMaterialException"):
        load(kms, key, material, **new)
    [_, pending] = materials(kms, key)
    assert pending["KeyMaterialDescription"] == "generation 2" and pending["KeyMaterialState"] == "PENDING_ROTATION"
    kms.rotate_key_on_demand(KeyId=key)
    assert describe(kms, key)["CurrentKeyMaterialId"] == pending["KeyMaterialId"]


def test_errors_on_demand(start):
    emulator = start("--no-quotas")
    kms = emulator.client(**once)
    emulator.fault({"kind": "throttle"}, operation="CreateKey")
    with refused("ThrottlingException"):
        external(kms)
    emulator.fault({"kind": "deny"}, operation="CreateKey", times=2)
    for _ in range(2):
        with refused("AccessDeniedException"):
            external(kms)
    emulator.fault({"kind": "server_error"}, operation="CreateKey")
    with refused("KMSInternalException", 500):
        external(kms)
    assert kms.list_keys()["Keys"] == []
    emulator.fault({"kind": "server_error", "applied": True}, operation="CreateKey")
    with refused("KMSInternalException", 500):
        external(kms)
    assert len(kms.list_keys()["Keys"]) == 1
    emulator.fault({"kind": "error", "code": "DependencyTimeoutException", "status": 503}, operation="ListKeys")
    with refused("DependencyTimeoutException", 503):
        kms.list_keys()


def test_an_effect_lands_after_the_client_gave_up(start):
    emulator = start("--no-quotas")
    kms = emulator.client(read_timeout=2, **once)
    emulator.fault({"kind": "late", "after_requests": 2}, operation="CreateKey")
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        external(kms)
    assert [len(kms.list_keys()["Keys"]) for _ in range(3)] == [0, 0, 1]
    emulator.fault({"kind": "late", "after_seconds": 30, "close": True}, operation="CreateKey")
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        external(kms)
    assert len(kms.list_keys()["Keys"]) == 1
    emulator.advance(seconds=31)
    assert len(kms.list_keys()["Keys"]) == 2


@pytest.mark.parametrize("when, apply, keys", [
    ("before_effect", False, 0), ("before_effect", True, 1), ("after_effect", False, 1), ("after_reply", False, 1)])
def test_a_halt_falls_silent_until_it_is_resumed(start, when, apply, keys):
    emulator = start("--no-quotas")
    kms = emulator.client(read_timeout=2, **once)
    emulator.fault({"kind": "halt", "when": when}, mutation=1)
    if when == "after_reply":
        external(kms)
    else:
        with pytest.raises(botocore.exceptions.ReadTimeoutError):
            external(kms)
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        kms.list_keys()
    halted = emulator.control("GET", "state")["halted"]
    assert halted == {"when": when, "sequence": 1, "mutation": 1, "operation": "CreateKey", "hanging": 1}
    assert emulator.control("POST", "resume", {"apply": apply})["halted"] is None
    assert len(kms.list_keys()["Keys"]) == keys


def test_reads_lag_within_the_consistency_window(start):  # contract: aws.deletion.consistency
    emulator = start("--no-quotas", "--consistency", "60")
    kms = emulator.client()
    key = external(kms)

    def found():
        try:
            describe(kms, key)
            return True
        except kms.exceptions.NotFoundException:
            return False

    seen = [found() for _ in range(40)]
    assert True in seen and False in seen
    emulator.advance(seconds=61)
    assert all(found() for _ in range(40))


def test_dump_and_journal_tell_what_happened_and_hide_the_material(start):
    emulator = start("--no-quotas")
    kms = emulator.client()
    material = os.urandom(32)
    key = loaded(kms, material)
    kms.create_alias(AliasName="alias/dumped", TargetKeyId=key)
    dump = emulator.control("GET", "dump")
    assert dump["aliases"][0]["target"] == key
    [[dumped]] = [entry["materials"] for entry in dump["keys"]]
    assert dumped["sha256"] == hashlib.sha256(material).hexdigest() and "bytes" not in dumped
    requests = emulator.control("GET", "requests")
    assert [(r["operation"], r.get("mutation"), r["outcome"]) for r in requests] == [
        ("CreateKey", 1, "ok"), ("GetParametersForImport", None, "ok"), ("ImportKeyMaterial", 2, "ok"),
        ("CreateAlias", 3, "ok")]
    assert len(bytes.fromhex(requests[2]["wrapped_material"])) == 256
    assert material.hex() not in json.dumps([dump, requests])
    assert emulator.control("GET", "state")["mutations"] == 3
    revealing = start("--no-quotas", "--reveal-material")
    loaded(revealing.client(), material)
    assert material.hex() in json.dumps(revealing.control("GET", "dump"))


@pytest.mark.parametrize("reading, disabled_import", [("accepted", "Disabled"), ("enables", "Enabled"), ("refused", None)])
def test_each_reading_of_importing_while_disabled(start, reading, disabled_import):
    emulator = start("--no-quotas")
    emulator.control("POST", "readings", {"import_while_disabled": reading})
    kms = emulator.client()
    material = os.urandom(32)
    key = loaded(kms, material)
    kms.disable_key(KeyId=key)
    if disabled_import:
        load(kms, key, material)
        assert state(kms, key) == disabled_import
    else:
        with refused("KMSInvalidStateException"):
            load(kms, key, material)
