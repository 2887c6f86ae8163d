"""Multi-Region keys of imported material as boto3, unchanged, sees the emulator.

The region of a request is the one that it is signed for; one emulator plays them all.
"""

import json
import os

import pytest
from test_kms import describe, external, load, loaded, materials, parameters, refused, state

HOME, AWAY, FAR = "us-east-1", "eu-west-1", "ap-southeast-2"
WAITING = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"


@pytest.fixture
def home(emulator):
    return emulator.client(region=HOME)


@pytest.fixture
def away(emulator):
    return emulator.client(region=AWAY)


def arn(region, key):
    return f"arn:aws:kms:{region}:111122223333:key/{key}"


def primary(kms, material=None):
    key = external(kms, MultiRegion=True)
    load(kms, key, material or os.urandom(32))
    return key


def replicate(kms, key, region=AWAY, **more):
    return kms.replicate_key(KeyId=key, ReplicaRegion=region, **more)


def pair(home, away, material):
    """A primary and a replica with the same material."""
    key = primary(home, material)
    replicate(home, key)
    load(away, key, material)
    return key


def states(kms, key):
    return [(m["KeyMaterialState"], m["ImportState"]) for m in materials(kms, key)]


# --- Creating and replicating --------------------------------------------------------------------------------------


def test_a_primary_key_shows_that_it_is_one(home):
    made = home.create_key(Origin="EXTERNAL", MultiRegion=True)["KeyMetadata"]
    assert made["KeyId"].startswith("mrk-") and len(made["KeyId"]) == 36
    assert made["MultiRegion"] is True and made["KeyState"] == "PendingImport"
    key = {"Arn": arn(HOME, made["KeyId"]), "Region": HOME}
    assert made["MultiRegionConfiguration"] == {"MultiRegionKeyType": "PRIMARY", "PrimaryKey": key, "ReplicaKeys": []}
    assert describe(home, made["Arn"]) == made
    single = describe(home, external(home))
    assert single["MultiRegion"] is False and "MultiRegionConfiguration" not in single


def test_a_replica_starts_without_material_and_with_its_own_marks(home, away):  # contract: aws.rotation.multi_region
    key = primary(home)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}]})
    home.tag_resource(KeyId=key, Tags=[{"TagKey": "side", "TagValue": "home"}])
    tags = [{"TagKey": "side", "TagValue": "away"}]
    made = replicate(home, key, Description="ours", Policy=policy, Tags=tags)
    assert made["ReplicaPolicy"] == policy and made["ReplicaTags"] == tags
    replica = made["ReplicaKeyMetadata"]
    assert replica["KeyId"] == key and replica["Arn"] == arn(AWAY, key) and replica["Description"] == "ours"
    assert replica["KeyState"] == "PendingImport" and not replica["Enabled"] and "ExpirationModel" not in replica
    configuration = {"PrimaryKey": {"Arn": arn(HOME, key), "Region": HOME},
                     "ReplicaKeys": [{"Arn": arn(AWAY, key), "Region": AWAY}]}
    assert replica["MultiRegionConfiguration"] == {"MultiRegionKeyType": "REPLICA", **configuration}
    assert describe(home, key)["MultiRegionConfiguration"] == {"MultiRegionKeyType": "PRIMARY", **configuration}
    assert describe(away, key) == replica
    assert away.list_resource_tags(KeyId=key)["Tags"] == tags
    assert home.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "side", "TagValue": "home"}]
    assert away.get_key_policy(KeyId=key)["Policy"] == policy != home.get_key_policy(KeyId=key)["Policy"]
    assert replicate(home, key, FAR)["ReplicaKeyMetadata"]["Description"] == ""
    assert [r["Region"] for r in describe(away, key)["MultiRegionConfiguration"]["ReplicaKeys"]] == [FAR, AWAY]
    with refused("KMSInvalidStateException"):
        away.encrypt(KeyId=key, Plaintext=b"x")


def test_only_an_enabled_primary_is_replicated_and_once_to_a_region(home, away):
    material = os.urandom(32)
    key = pair(home, away, material)
    with refused("AlreadyExistsException"):
        replicate(home, key)
    away.schedule_key_deletion(KeyId=key)
    with refused("AlreadyExistsException"):
        replicate(home, key)
    with refused("UnsupportedOperationException"):
        replicate(away, key, FAR)
    with refused("UnsupportedOperationException"):
        replicate(home, loaded(home))
    with refused("KMSInvalidStateException"):
        replicate(home, external(home, MultiRegion=True))
    with refused("NotFoundException"):
        replicate(home, "mrk-" + "0" * 32)
    for region in (HOME, "somewhere"):
        with refused("ValidationException"):
            replicate(home, key, region)
    with refused("TagException"):
        replicate(home, key, FAR, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
    with refused("MalformedPolicyDocumentException"):
        replicate(home, key, FAR, Policy="{}")
    home.disable_key(KeyId=key)
    with refused("DisabledException"):
        replicate(home, key, FAR)


def test_regions_know_nothing_of_each_others_single_keys(home, away):
    key = loaded(home)
    with refused("NotFoundException"):
        describe(away, key)
    with refused("NotFoundException"):
        describe(away, arn(HOME, key))
    blob = home.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    with refused("AccessDeniedException"):
        away.decrypt(CiphertextBlob=blob)


# --- Material ------------------------------------------------------------------------------------------------------


def test_a_replica_takes_the_material_of_its_primary_and_no_other(home, away):  # contract: aws.rotation.multi_region
    material = os.urandom(32)
    key = primary(home, material)
    replicate(home, key)
    with refused("IncorrectKeyMaterialException"):
        load(away, key, os.urandom(32))
    with refused("IncorrectKeyMaterialException"):
        load(away, key, os.urandom(32), ImportType="EXISTING_KEY_MATERIAL")
    for bytes_ in (material, os.urandom(32)):
        with refused("UnsupportedOperationException"):
            load(away, key, bytes_, ImportType="NEW_KEY_MATERIAL")
    # The ids are the same and the keys are not: a token serves in its own region only.
    with refused("InvalidImportTokenException"):
        load(away, key, material, given=parameters(home, key))
    assert state(away, key) == "PendingImport"
    imported = load(away, key, material, ImportType="EXISTING_KEY_MATERIAL")
    assert imported["KeyId"] == arn(AWAY, key)
    assert imported["KeyMaterialId"] == describe(home, key)["CurrentKeyMaterialId"]
    assert state(away, key) == "Enabled"


def test_a_replica_made_before_its_primary_lost_its_material_still_knows_it(home, away):
    material = os.urandom(32)
    key = primary(home, material)
    replicate(home, key)
    home.delete_imported_key_material(KeyId=key)
    with refused("IncorrectKeyMaterialException"):
        load(away, key, os.urandom(32))
    load(away, key, material)
    assert (state(home, key), state(away, key)) == ("PendingImport", "Enabled")


def test_ciphertext_of_one_region_decrypts_in_the_other(home, away):  # contract: aws.rotation.multi_region
    key = pair(home, away, os.urandom(32))
    for here, there, region in ((home, away, AWAY), (away, home, HOME)):
        blob = here.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
        opened = there.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})
        assert opened["Plaintext"] == b"x" and opened["KeyId"] == arn(region, key)
    away.delete_imported_key_material(KeyId=key)
    assert (state(home, key), state(away, key)) == ("Enabled", "PendingImport")
    assert home.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})["Plaintext"] == b"x"


def test_the_same_material_does_not_relate_other_keys(home, away):
    material = os.urandom(32)
    key, other = pair(home, away, material), pair(home, away, material)
    blob = home.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    with refused("IncorrectKeyException"):
        away.decrypt(CiphertextBlob=blob, KeyId=other)


# --- Rotation ------------------------------------------------------------------------------------------------------


def test_rotation_goes_from_the_primary_to_every_replica(emulator, home, away):
    # contract: aws.rotation.multi_region, aws.rotation.material_states
    first, second = os.urandom(32), os.urandom(32)
    key = pair(home, away, first)
    far = emulator.client(region=FAR)
    replicate(home, key, FAR)
    load(far, key, first)
    old = far.encrypt(KeyId=key, Plaintext=b"v1")["CiphertextBlob"]
    load(home, key, second, ImportType="NEW_KEY_MATERIAL")
    assert states(home, key) == [("CURRENT", "IMPORTED"), (WAITING, "IMPORTED")]
    assert states(away, key) == [("CURRENT", "IMPORTED"), (WAITING, "PENDING_IMPORT")]
    with refused("KMSInvalidStateException"):
        home.rotate_key_on_demand(KeyId=key)
    with refused("IncorrectKeyMaterialException"):
        load(away, key, os.urandom(32))
    load(away, key, second, ImportType="EXISTING_KEY_MATERIAL")
    assert states(away, key) == [("CURRENT", "IMPORTED"), (WAITING, "IMPORTED")]
    with refused("KMSInvalidStateException"):
        home.rotate_key_on_demand(KeyId=key)
    load(far, key, second)
    for kms in (home, away, far):
        assert states(kms, key) == [("CURRENT", "IMPORTED"), ("PENDING_ROTATION", "IMPORTED")]
        assert state(kms, key) == "Enabled"
    for replica in (away, far):
        with refused("UnsupportedOperationException"):
            replica.rotate_key_on_demand(KeyId=key)
    home.rotate_key_on_demand(KeyId=key)
    new = home.encrypt(KeyId=key, Plaintext=b"v2")["CiphertextBlob"]
    for kms in (home, away, far):
        assert states(kms, key) == [("NON_CURRENT", "IMPORTED"), ("CURRENT", "IMPORTED")]
        assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"v1"
        assert kms.decrypt(CiphertextBlob=new)["Plaintext"] == b"v2"
        assert len(kms.list_key_rotations(KeyId=key)["Rotations"]) == 1
    with refused("KMSInvalidStateException"):
        home.rotate_key_on_demand(KeyId=key)


def test_pending_material_that_the_primary_gives_up_is_gone_everywhere(home, away):
    key = pair(home, away, os.urandom(32))
    second = os.urandom(32)
    pending = load(home, key, second, ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    load(away, key, second)
    away.delete_imported_key_material(KeyId=key, KeyMaterialId=pending)
    assert states(home, key)[1] == (WAITING, "IMPORTED") and states(away, key)[1] == (WAITING, "PENDING_IMPORT")
    load(away, key, second)
    home.delete_imported_key_material(KeyId=key, KeyMaterialId=pending)
    assert states(home, key) == states(away, key) == [("CURRENT", "IMPORTED")]
    with refused("IncorrectKeyMaterialException"):
        load(away, key, second)
    load(home, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")


def test_under_the_other_reading_they_do_not_rotate(start):  # contract: aws.rotation.multi_region
    emulator = start("--no-quotas")
    emulator.control("POST", "readings", {"multi_region_rotation": "refused"})
    home, away = emulator.client(), emulator.client(region=AWAY)
    key = pair(home, away, os.urandom(32))
    with refused("UnsupportedOperationException"):
        load(home, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")
    with refused("UnsupportedOperationException"):
        home.rotate_key_on_demand(KeyId=key)
    assert states(home, key) == [("CURRENT", "IMPORTED")]


# --- Deleting, moving ----------------------------------------------------------------------------------------------


def test_a_primary_goes_after_its_replicas(start):
    emulator = start("--no-quotas")
    home, away = emulator.client(), emulator.client(region=AWAY)
    key = pair(home, away, os.urandom(32))
    planned = home.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert planned["KeyState"] == "PendingReplicaDeletion" and planned["PendingWindowInDays"] == 7
    assert "DeletionDate" not in planned
    described = describe(home, key)
    assert described["PendingDeletionWindowInDays"] == 7 and "DeletionDate" not in described
    with refused("KMSInvalidStateException"):
        home.encrypt(KeyId=key, Plaintext=b"x")
    blob = away.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    home.cancel_key_deletion(KeyId=key)
    assert state(home, key) == "Disabled"
    home.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    away.schedule_key_deletion(KeyId=key, PendingWindowInDays=8)
    emulator.advance(days=7, hours=23)
    assert state(home, key) == "PendingReplicaDeletion"
    emulator.advance(hours=2)
    described = describe(home, key)
    assert described["KeyState"] == "PendingDeletion" and described["MultiRegionConfiguration"]["ReplicaKeys"] == []
    with refused("NotFoundException"):
        describe(away, key)
    home.cancel_key_deletion(KeyId=key)
    home.enable_key(KeyId=key)
    assert home.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    replicate(home, key)


def test_the_primary_moves(home, away):
    first, second = os.urandom(32), os.urandom(32)
    key = pair(home, away, first)
    with refused("UnsupportedOperationException"):
        away.update_primary_region(KeyId=key, PrimaryRegion=HOME)
    with refused("NotFoundException"):
        home.update_primary_region(KeyId=key, PrimaryRegion=FAR)
    home.update_primary_region(KeyId=key, PrimaryRegion=AWAY)
    for kms, kind in ((home, "REPLICA"), (away, "PRIMARY")):
        configuration = describe(kms, key)["MultiRegionConfiguration"]
        assert configuration["MultiRegionKeyType"] == kind and configuration["PrimaryKey"]["Region"] == AWAY
        assert [replica["Region"] for replica in configuration["ReplicaKeys"]] == [HOME]
    with refused("UnsupportedOperationException"):
        load(home, key, second, ImportType="NEW_KEY_MATERIAL")
    load(away, key, second, ImportType="NEW_KEY_MATERIAL")
    load(home, key, second)
    away.rotate_key_on_demand(KeyId=key)
    assert states(home, key) == [("NON_CURRENT", "IMPORTED"), ("CURRENT", "IMPORTED")]


# --- Quotas, the front ---------------------------------------------------------------------------------------------


def test_each_region_has_its_own_quota(start):  # contract: aws.quota.requests
    emulator = start()
    home, away = (emulator.client(region=region, retries={"total_max_attempts": 1}) for region in (HOME, AWAY))
    one, other = external(home), external(away)
    with refused("ThrottlingException"):
        for _ in range(5):
            parameters(home, one)
    parameters(away, other)


def test_where_signatures_count_there_is_the_home_region_only(start):
    emulator = start("--no-quotas", "--region", AWAY, "--access-key", "AKIDEXAMPLE", "--secret-key", "right")
    key = external(emulator.client("AKIDEXAMPLE", "right", region=AWAY))
    assert describe(emulator.client("AKIDEXAMPLE", "right", region=AWAY), key)["Arn"] == arn(AWAY, key)
    with refused("InvalidSignatureException"):
        emulator.client("AKIDEXAMPLE", "right", region=HOME).list_keys()
