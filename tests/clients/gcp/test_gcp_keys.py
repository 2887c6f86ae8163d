"""Key rings, keys and versions: made, named, listed, switched, destroyed, deleted."""

import pytest
from gcp_names import LOCATION
from gcp_refused import refused
from google.cloud import kms
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

DAY = 86400


def mask(*paths):
    return field_mask_pb2.FieldMask(paths=paths)


def set_state(emulator, name, state):
    version = {"name": name, "state": state}
    return emulator.kms.update_crypto_key_version(crypto_key_version=version, update_mask=mask("state"))


# contract: gcp.key.create
def test_a_key_for_imports_is_as_it_was_asked_for(emulator, ring):
    name = emulator.shell(ring, level="HSM", labels={"keyplane-placement": "p1"})
    key = emulator.kms.get_crypto_key(name=name)
    assert (key.name, key.purpose.name, key.import_only) == (name, "ENCRYPT_DECRYPT", True)
    assert key.version_template.protection_level.name == "HSM"
    assert key.version_template.algorithm.name == "GOOGLE_SYMMETRIC_ENCRYPTION"
    assert dict(key.labels) == {"keyplane-placement": "p1"}
    assert key.destroy_scheduled_duration.total_seconds() == 30 * DAY
    assert not key.primary.name
    assert list(emulator.kms.list_crypto_key_versions(parent=name)) == []


# contract: gcp.key.create, gcp.errors
def test_an_id_is_the_callers_and_serves_once(emulator, ring):
    create = lambda id: emulator.kms.create_crypto_key(parent=ring, crypto_key_id=id, crypto_key={"purpose": "ENCRYPT_DECRYPT"})
    name = create("A-b_9" + "x" * 58).name
    assert name == f"{ring}/cryptoKeys/A-b_9{'x' * 58}"
    with refused("ALREADY_EXISTS", 409):
        create("A-b_9" + "x" * 58)
    for bad in ("", "a.b", "ä", "x" * 64):
        with refused("INVALID_ARGUMENT", 400):
            create(bad)


# contract: gcp.errors
def test_what_is_not_there_is_not_found(emulator, ring):
    with refused("NOT_FOUND", 404, says="KeyRing"):
        emulator.kms.get_key_ring(name=f"{LOCATION}/keyRings/none")
    with refused("NOT_FOUND", 404, says="KeyRing"):
        emulator.kms.create_crypto_key(
            parent=f"{LOCATION}/keyRings/none", crypto_key_id="k", crypto_key={"purpose": "ENCRYPT_DECRYPT"}
        )
    with refused("NOT_FOUND", 404, says="CryptoKey"):
        emulator.kms.get_crypto_key(name=f"{ring}/cryptoKeys/none")
    key = emulator.key(ring)
    for number in ("2", "01", "x"):
        with refused("NOT_FOUND", 404, says="CryptoKeyVersion"):
            emulator.version(f"{key}/cryptoKeyVersions/{number}")
    with refused("NOT_FOUND", 404, says="ImportJob"):
        emulator.kms.get_import_job(name=f"{ring}/importJobs/none")


# contract: gcp.errors
def test_another_project_is_not_told_whether_it_exists(emulator):
    with refused("PERMISSION_DENIED", 403, says="(or it may not exist)"):
        emulator.kms.get_key_ring(name="projects/other/locations/global/keyRings/r")


# contract: gcp.key.create
def test_purpose_algorithm_and_level_must_fit(emulator, ring):
    with refused("INVALID_ARGUMENT"):
        emulator.key(ring, purpose="MAC", algorithm="GOOGLE_SYMMETRIC_ENCRYPTION")
    with refused("INVALID_ARGUMENT"):
        emulator.key(ring, purpose="ASYMMETRIC_SIGN", algorithm="CRYPTO_KEY_VERSION_ALGORITHM_UNSPECIFIED")
    with refused("INVALID_ARGUMENT"):
        emulator.kms.create_crypto_key(parent=ring, crypto_key_id="nopurpose", crypto_key={})
    for level in ("EXTERNAL", "EXTERNAL_VPC", "HSM_SINGLE_TENANT"):
        with refused("UNIMPLEMENTED", 501):
            emulator.key(ring, level=level)
    for purpose, algorithm in (("KEY_ENCAPSULATION", "ML_KEM_768"), ("ASYMMETRIC_SIGN", "PQ_SIGN_ML_DSA_65")):
        with refused("UNIMPLEMENTED", 501):
            emulator.key(ring, purpose=purpose, algorithm=algorithm)


# contract: gcp.key.create
def test_a_key_for_imports_alone_has_no_generated_versions(emulator, ring):
    crypto_key = {"purpose": "ENCRYPT_DECRYPT", "import_only": True}
    with refused("INVALID_ARGUMENT"):
        emulator.kms.create_crypto_key(parent=ring, crypto_key_id="withversion", crypto_key=crypto_key)
    with refused("FAILED_PRECONDITION", 400):
        emulator.kms.create_crypto_key_version(parent=emulator.shell(ring), crypto_key_version={})


# contract: gcp.key.create
@pytest.mark.parametrize(
    "only, days, fits",
    [(False, 1, True), (False, 120, True), (False, 0.5, False), (False, 121, False), (True, 0, True), (True, 121, False)],
)
def test_destruction_waits_within_limits(emulator, ring, only, days, fits):
    delay = {"destroy_scheduled_duration": duration_pb2.Duration(seconds=int(days * DAY))}
    make = emulator.shell if only else emulator.key
    if fits:
        key = emulator.kms.get_crypto_key(name=make(ring, **delay))
        assert key.destroy_scheduled_duration.total_seconds() == days * DAY
    else:
        with refused("INVALID_ARGUMENT"):
            make(ring, **delay)


# contract: gcp.key.create, gcp.json
@pytest.mark.parametrize("path", ["purpose", "import_only", "destroy_scheduled_duration", "version_template.protection_level"])
def test_what_is_immutable_cannot_be_updated(emulator, ring, path):
    key = kms.CryptoKey(name=emulator.shell(ring), purpose="MAC", import_only=False)
    with refused("INVALID_ARGUMENT", says=""):
        emulator.kms.update_crypto_key(crypto_key=key, update_mask=mask(path))


# contract: gcp.json
def test_an_update_changes_what_its_mask_names_and_nothing_else(emulator, ring):
    name = emulator.key(ring, labels={"a": "1"})
    update = lambda paths, **fields: emulator.kms.update_crypto_key(
        crypto_key=kms.CryptoKey(name=name, **fields), update_mask=mask(*paths)
    )
    with refused("INVALID_ARGUMENT"):
        update([], labels={"b": "2"})
    with refused("INVALID_ARGUMENT"):
        update(["no_such_field"])
    soon = timestamp_pb2.Timestamp(seconds=4_000_000_000)
    update(["next_rotation_time"], labels={"b": "2"}, next_rotation_time=soon)
    key = emulator.kms.get_crypto_key(name=name)
    assert dict(key.labels) == {"a": "1"}
    assert int(key.next_rotation_time.timestamp()) == 4_000_000_000
    update(["labels"], labels={"b": "2"})
    key = emulator.kms.get_crypto_key(name=name)
    assert dict(key.labels) == {"b": "2"}
    assert int(key.next_rotation_time.timestamp()) == 4_000_000_000


# contract: gcp.key.labels
def test_labels_are_of_few_characters(emulator, ring):
    good = {"a": "", "keyplane-placement_1": "x-y_9", "é": "ü", "l" * 63: "v" * 63}
    assert dict(emulator.kms.get_crypto_key(name=emulator.key(ring, labels=good)).labels) == good
    most = {f"l{n}": "v" for n in range(64)}
    emulator.key(ring, labels=most)
    for bad in (
        {"A": "x"}, {"a": "X"}, {"1a": "x"}, {"-a": "x"}, {"": "x"}, {"a": "x y"}, {"a.b": "x"}, {"a": "x/y"},
        {"l" * 64: "v"}, {"a": "v" * 64}, {**most, "one-more": "v"},
    ):
        with refused("INVALID_ARGUMENT"):
            emulator.key(ring, labels=bad)


# contract: gcp.version.states
def test_a_version_is_switched_off_and_on(emulator, ring):
    version = emulator.key(ring) + "/cryptoKeyVersions/1"
    assert set_state(emulator, version, "DISABLED").state.name == "DISABLED"
    assert emulator.version(version).state.name == "DISABLED"
    assert set_state(emulator, version, "ENABLED").state.name == "ENABLED"
    for state in ("DESTROYED", "DESTROY_SCHEDULED", "PENDING_IMPORT", "IMPORT_FAILED"):
        with refused("INVALID_ARGUMENT"):
            set_state(emulator, version, state)
    with refused("INVALID_ARGUMENT"):
        emulator.kms.update_crypto_key_version(crypto_key_version={"name": version}, update_mask=mask("algorithm"))


# contract: gcp.version.states
def test_destruction_is_scheduled_and_can_be_called_off(start):
    emulator = start("--pending-millis", "0")
    version = emulator.key(emulator.ring()) + "/cryptoKeyVersions/1"
    with refused("FAILED_PRECONDITION"):
        emulator.kms.restore_crypto_key_version(name=version)
    scheduled = emulator.kms.destroy_crypto_key_version(name=version)
    assert scheduled.state.name == "DESTROY_SCHEDULED"
    assert abs((scheduled.destroy_time - scheduled.create_time).total_seconds() - 30 * DAY) < 60
    with refused("FAILED_PRECONDITION"):
        set_state(emulator, version, "ENABLED")
    with refused("FAILED_PRECONDITION"):
        emulator.kms.destroy_crypto_key_version(name=version)
    emulator.advance(days=29)
    restored = emulator.kms.restore_crypto_key_version(name=version)
    assert restored.state.name == "DISABLED" and not restored.destroy_time
    emulator.kms.destroy_crypto_key_version(name=version)
    emulator.advance(days=30)
    destroyed = emulator.version(version)
    assert destroyed.state.name == "DESTROYED" and destroyed.destroy_event_time and not destroyed.destroy_time
    with refused("FAILED_PRECONDITION"):
        emulator.kms.restore_crypto_key_version(name=version)
    assert emulator.control("GET", "dump")["keys"][0]["materials"][0]["sha256"] is None


# contract: gcp.version.states, gcp.key.create
def test_a_key_without_delay_loses_its_version_at_once(emulator, ring):
    from gcp_wrap import wrap

    key = emulator.shell(ring, destroy_scheduled_duration=duration_pb2.Duration(seconds=0))
    job = emulator.job(ring)
    version = emulator.bring(key, job, wrap(job, b"m" * 32))
    # A duration of zero is the same as none on this wire: it is told apart by having been sent.
    state = emulator.kms.destroy_crypto_key_version(name=version.name).state.name
    assert state == "DESTROYED"


# contract: gcp.deletion
def test_versions_and_keys_can_be_deleted_and_their_names_never_come_back(start):
    emulator = start("--pending-millis", "0")
    ring = emulator.ring()
    key = emulator.key(ring)
    version = f"{key}/cryptoKeyVersions/1"
    with refused("FAILED_PRECONDITION"):
        emulator.kms.delete_crypto_key(name=key)
    with refused("FAILED_PRECONDITION"):
        emulator.kms.delete_crypto_key_version(name=version)
    emulator.kms.destroy_crypto_key_version(name=version)
    emulator.advance(days=31)
    emulator.kms.delete_crypto_key_version(name=version).result(timeout=10)
    with refused("NOT_FOUND"):
        emulator.version(version)
    operation = emulator.kms.delete_crypto_key(name=key)
    operation.result(timeout=10)
    retired = emulator.kms.get_retired_resource(name=operation.metadata.retired_resource)
    assert retired.original_resource == key
    assert [found.name for found in emulator.kms.list_retired_resources(parent=LOCATION)] == [retired.name]
    with refused("NOT_FOUND"):
        emulator.kms.get_crypto_key(name=key)
    with refused("ALREADY_EXISTS"):
        emulator.kms.create_crypto_key(parent=ring, crypto_key_id=key.rsplit("/")[-1], crypto_key={"purpose": "ENCRYPT_DECRYPT"})


# contract: gcp.deletion
def test_an_imported_version_cannot_be_deleted_and_a_failed_one_can(start):
    from gcp_wrap import wrap

    emulator = start("--pending-millis", "0")
    ring = emulator.ring()
    key, job = emulator.shell(ring), emulator.job(ring)
    held = emulator.bring(key, job, wrap(job, b"m" * 32))
    failed = emulator.bring(key, job, wrap(job, b"short"))
    assert failed.state.name == "IMPORT_FAILED"
    emulator.kms.delete_crypto_key_version(name=failed.name)
    emulator.kms.destroy_crypto_key_version(name=held.name)
    emulator.advance(days=31)
    assert emulator.version(held.name).state.name == "DESTROYED"
    with refused("FAILED_PRECONDITION", says="imported"):
        emulator.kms.delete_crypto_key_version(name=held.name)
    # The number of a deleted version is not used again.
    job = emulator.job(ring)
    assert emulator.bring(key, job, wrap(job, b"n" * 32)).name.endswith("/3")


# contract: gcp.deletion
def test_key_rings_cannot_be_deleted(emulator, ring):
    status, answer = emulator.request("DELETE", f"/v1/{ring}")
    assert (status, answer["error"]["status"]) == (404, "NOT_FOUND")


# contract: gcp.primary
def test_the_primary_version_moves_only_when_it_is_told_to(emulator, ring):
    key = emulator.key(ring)
    second = emulator.kms.create_crypto_key_version(parent=key, crypto_key_version={}).name
    assert emulator.kms.get_crypto_key(name=key).primary.name == f"{key}/cryptoKeyVersions/1"
    moved = emulator.kms.update_crypto_key_primary_version(name=key, crypto_key_version_id="2")
    assert moved.primary.name == second
    assert emulator.kms.encrypt(name=key, plaintext=b"x").name == second
    for unknown in ("3", "02", "x"):
        with refused("NOT_FOUND"):
            emulator.kms.update_crypto_key_primary_version(name=key, crypto_key_version_id=unknown)


# contract: gcp.primary
def test_only_keys_for_encryption_have_a_primary_version(emulator, ring):
    key = emulator.key(ring, purpose="MAC", algorithm="HMAC_SHA256")
    assert not emulator.kms.get_crypto_key(name=key).primary.name
    with refused("FAILED_PRECONDITION"):
        emulator.kms.update_crypto_key_primary_version(name=key, crypto_key_version_id="1")


# contract: gcp.primary
def test_a_disabled_version_becomes_primary_or_does_not(start):
    emulator = start("--pending-millis", "0")
    for reading, status in (("refused", "FAILED_PRECONDITION"), ("accepted", None)):
        emulator.read(primary_of_unusable=reading)
        key = emulator.key(emulator.ring())
        emulator.kms.create_crypto_key_version(parent=key, crypto_key_version={})
        set_state(emulator, f"{key}/cryptoKeyVersions/2", "DISABLED")
        move = lambda: emulator.kms.update_crypto_key_primary_version(name=key, crypto_key_version_id="2")
        if status:
            with refused(status):
                move()
            continue
        move()
        with refused("FAILED_PRECONDITION", says="DISABLED"):
            emulator.kms.encrypt(name=key, plaintext=b"x")


def rotating(days):
    return {"rotation_period": duration_pb2.Duration(seconds=days * DAY)}


# contract: gcp.rotation.automatic
def test_a_key_rotates_by_itself(start):
    emulator = start("--pending-millis", "0")
    now = emulator.control("GET", "state")["now"] // 1_000_000
    soon = timestamp_pb2.Timestamp(seconds=now + 10 * DAY)
    key = emulator.key(emulator.ring(), next_rotation_time=soon, **rotating(5))
    before = emulator.kms.encrypt(name=key, plaintext=b"old").ciphertext
    emulator.advance(days=16)
    rotated = emulator.kms.get_crypto_key(name=key)
    assert rotated.primary.name.endswith("/3")
    assert int(rotated.next_rotation_time.timestamp()) == now + 20 * DAY
    assert emulator.kms.decrypt(name=key, ciphertext=before).plaintext == b"old"
    assert len(list(emulator.kms.list_crypto_key_versions(parent=key))) == 3


# contract: gcp.rotation.automatic
def test_no_rotation_for_imports_alone_nor_for_other_purposes(emulator, ring):
    soon = timestamp_pb2.Timestamp(seconds=4_000_000_000)
    with refused("INVALID_ARGUMENT"):
        emulator.shell(ring, next_rotation_time=soon, **rotating(90))
    with refused("INVALID_ARGUMENT"):
        emulator.key(ring, purpose="MAC", algorithm="HMAC_SHA256", next_rotation_time=soon, **rotating(90))
    key = kms.CryptoKey(name=emulator.shell(ring), next_rotation_time=soon, **rotating(90))
    with refused("INVALID_ARGUMENT"):
        emulator.kms.update_crypto_key(crypto_key=key, update_mask=mask("next_rotation_time", "rotation_period"))
    with refused("INVALID_ARGUMENT"):
        emulator.key(ring, **rotating(90))
    with refused("INVALID_ARGUMENT"):
        emulator.key(ring, next_rotation_time=soon, rotation_period=duration_pb2.Duration(seconds=DAY - 1))
    with refused("INVALID_ARGUMENT"):
        emulator.key(ring, next_rotation_time=timestamp_pb2.Timestamp(seconds=1), **rotating(90))


# contract: gcp.lists
def test_lists_come_in_pages(emulator, ring):
    names = sorted(emulator.key(ring) for _ in range(7))
    first = emulator.kms.list_crypto_keys(request={"parent": ring, "page_size": 3})
    page = next(first.pages)
    assert (len(page.crypto_keys), page.total_size, bool(page.next_page_token)) == (3, 7, True)
    listed = [key.name for key in emulator.kms.list_crypto_keys(request={"parent": ring, "page_size": 3})]
    assert listed == names
    # A key that comes in between neither hides nor doubles another.
    emulator.kms.create_crypto_key(parent=ring, crypto_key_id="0-first", crypto_key={"purpose": "ENCRYPT_DECRYPT"})
    rest = emulator.kms.list_crypto_keys(request={"parent": ring, "page_size": 10, "page_token": page.next_page_token})
    assert [key.name for key in rest] == names[3:]
    with refused("INVALID_ARGUMENT"):
        other = emulator.ring()
        list(emulator.kms.list_crypto_keys(request={"parent": other, "page_token": page.next_page_token}))
    with refused("INVALID_ARGUMENT"):
        list(emulator.kms.list_crypto_keys(request={"parent": ring, "page_size": -1}))
    with refused("NOT_FOUND"):
        list(emulator.kms.list_crypto_keys(parent=f"{LOCATION}/keyRings/none"))


# contract: gcp.lists
def test_versions_are_listed_by_number_and_by_state(emulator, ring):
    key = emulator.key(ring)
    for _ in range(10):
        emulator.kms.create_crypto_key_version(parent=key, crypto_key_version={})
    set_state(emulator, f"{key}/cryptoKeyVersions/2", "DISABLED")
    numbers = lambda **query: [
        int(version.name.rsplit("/")[-1])
        for version in emulator.kms.list_crypto_key_versions(request={"parent": key, "page_size": 4, **query})
    ]
    assert numbers() == list(range(1, 12))
    assert numbers(order_by="name desc") == list(range(11, 0, -1))
    assert numbers(filter="state=DISABLED") == [2]
    assert numbers(filter="state:ENABLED AND algorithm=GOOGLE_SYMMETRIC_ENCRYPTION")[:2] == [1, 3]
    filtered = emulator.kms.list_crypto_key_versions(request={"parent": key, "filter": "state=DISABLED"})
    assert next(filtered.pages).total_size == 0
    with refused("INVALID_ARGUMENT"):
        numbers(filter="state>1")


# contract: gcp.lists
def test_keys_are_found_by_their_labels(emulator, ring):
    marked = emulator.key(ring, labels={"owner": "keyplane"})
    emulator.key(ring)
    found = emulator.kms.list_crypto_keys(request={"parent": ring, "filter": "labels.owner=keyplane"})
    assert [key.name for key in found] == [marked]


# contract: gcp.json
def test_answers_write_names_unless_numbers_are_asked_for(emulator, ring):
    key = emulator.key(ring)
    assert emulator.request("GET", f"/v1/{key}?alt=json")[1]["purpose"] == "ENCRYPT_DECRYPT"
    numbers = emulator.request("GET", f"/v1/{key}?%24alt=json%3Benum-encoding%3Dint")[1]
    assert (numbers["purpose"], numbers["versionTemplate"]["algorithm"], numbers["primary"]["state"]) == (1, 1, 1)
    assert numbers["destroyScheduledDuration"] == "2592000s"
    assert emulator.request("GET", f"/v1/{key}?alt=media")[0] == 400


# contract: gcp.json
def test_requests_are_read_as_protobuf_says(emulator, ring):
    create = lambda id, body: emulator.request("POST", f"/v1/{ring}/cryptoKeys?cryptoKeyId={id}", body)
    for id, body in (
        ("names", {"purpose": "ENCRYPT_DECRYPT", "versionTemplate": {"protectionLevel": "HSM"}}),
        ("numbers", {"purpose": 1, "versionTemplate": {"protectionLevel": 2, "algorithm": 1}}),
        ("proto", {"purpose": "ENCRYPT_DECRYPT", "version_template": {"protection_level": "HSM"}, "labels": None}),
    ):
        status, key = create(id, body)
        assert (status, key["versionTemplate"]["protectionLevel"]) == (200, "HSM"), key
    for body in ({"purpose": "NONE_SUCH"}, {"purpose": 99}, {"purpose": 1, "noSuch": 1}, {"purpose": 1, "labels": {"a": 1}}):
        status, answer = create("bad", body)
        assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT"), body
    status, answer = emulator.request("POST", f"/v1/{ring}/cryptoKeys?cryptoKeyId=x&noSuch=1", {"purpose": 1})
    assert (status, "noSuch" in answer["error"]["message"]) == (400, True)
    status, answer = emulator.request("POST", f"/v1/{ring}/cryptoKeys?cryptoKeyId=x", [1])
    assert status == 400
    for path in ("/v1/nothing", f"/v1/{ring}:encrypt", "/v2/" + ring):
        assert emulator.request("GET", path)[0] == 404
