"""A vault's keys through their life, as azure-keyvault-keys, unchanged, sees the emulator."""

import datetime
import hashlib
import os

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceResponseError
from azure.keyvault.keys import KeyRotationLifetimeAction, KeyRotationPolicy
from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm
from byok import BAD, blob, bring, encode, names, new_kek, number, pkcs8, refused, rsa_key
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

UTC = datetime.timezone.utc
OAEP = EncryptionAlgorithm.rsa_oaep_256


def moment(emulator, seconds):
    """A moment of the emulator's time, to the second."""
    return datetime.datetime.fromtimestamp(int(emulator.now()) + seconds, UTC)


def use(emulator, key, verb, alg, **fields):
    """Uses a key without the SDK, which does by itself what the public half suffices for."""
    name, version = key.id.split("/")[-2:]
    body = {"alg": alg, **{field: encode(value) for field, value in fields.items()}}
    status, _, answer = emulator.raw("POST", f"/keys/{name}/{version}/{verb}?api-version=7.6", body)
    return status, answer.get("error", {}).get("innererror", {}).get("code")


# contract: azure.create, azure.attributes
def test_a_key_is_made_and_read_again(vault):
    keys = vault.keys()
    before = int(vault.now())
    made = keys.create_rsa_key(next(names), size=3072, tags={"a": "b"}, key_operations=["sign", "verify"])
    assert made.id == f"{vault.url}/keys/{made.name}/{made.properties.version}" and len(made.properties.version) == 32
    properties = made.properties
    assert properties.enabled and properties.created_on == properties.updated_on
    assert before <= properties.created_on.timestamp() <= vault.now() + 1
    assert (properties.recovery_level, properties.recoverable_days, properties.exportable) == ("Recoverable+Purgeable", 90, False)
    assert made.key_operations == ["sign", "verify"] and len(made.key.n) == 384
    for seen in [keys.get_key(made.name), keys.get_key(made.name, made.properties.version)]:
        assert (seen.id, seen.key.n, seen.properties.tags) == (made.id, made.key.n, {"a": "b"})
    for curve in ["P-256", "P-384", "P-521", "P-256K"]:
        assert keys.create_ec_key(next(names), curve=curve, hardware_protected=True).key.crv == curve
    with refused(*BAD):
        keys.create_key(next(names), "RSA", size=1000)
    with refused(*BAD):
        keys.create_key(next(names), "XYZ")


# contract: azure.latest
def test_the_newest_version_is_asked_for_with_or_without_a_slash(vault):
    made = vault.keys().create_rsa_key(next(names))
    for path in [f"/keys/{made.name}", f"/keys/{made.name}/", f"/keys/{made.name}/{made.properties.version}/"]:
        status, _, body = vault.raw("GET", f"{path}?api-version=7.6")
        assert (status, body["key"]["kid"]) == (200, made.id)
    body = {"alg": "RSA-OAEP", "value": encode(b"x")}
    for path in [f"/keys/{made.name}//encrypt", f"/keys/{made.name}/encrypt"]:
        assert vault.raw("POST", f"{path}?api-version=7.6", body)[2]["kid"] == made.id


# contract: azure.errors
def test_what_is_not_there_is_told_by_its_code(vault):
    keys = vault.keys()
    made = keys.create_rsa_key(next(names))
    with refused(404, "KeyNotFound"):
        keys.get_key("nothing")
    with refused(404, "KeyNotFound"):
        keys.get_key(made.name, "0" * 32)
    with refused(404, "KeyNotFound"):
        keys.begin_delete_key("nothing")
    with refused(404, "KeyNotFound"):
        keys.get_deleted_key(made.name)
    with refused(404, "KeyNotFound"):
        keys.begin_recover_deleted_key(made.name)
    with refused(404, "KeyNotFound"):
        keys.purge_deleted_key(made.name)
    with refused(404, "KeyNotFound"):
        keys.update_key_properties("nothing", enabled=False)
    with pytest.raises(ResourceNotFoundError):
        list(keys.list_properties_of_key_versions("nothing"))
    for method, path, expected in [("GET", "/secrets/a", 404), ("DELETE", "/keys", 405), ("PATCH", "/rng", 405)]:
        status, _, body = vault.raw(method, f"{path}?api-version=7.6")
        assert status == expected and set(body["error"]) == {"code", "message"}
    status, _, body = vault.raw("PUT", f"/keys/{next(names)}?api-version=7.6", [1])
    assert (status, body["error"]["code"]) == BAD


# contract: azure.update
def test_an_update_changes_what_it_names_and_nothing_else(start):
    emulator = start("key-vault", "--no-quotas")
    keys = emulator.keys()
    made = keys.create_rsa_key(next(names), tags={"a": "1"}, key_operations=["sign", "verify", "encrypt", "decrypt"])
    newer = keys.create_rsa_key(made.name)
    emulator.advance(seconds=10)
    begin, end = moment(emulator, 100), moment(emulator, 200)
    seen = keys.update_key_properties(made.name, made.properties.version, not_before=begin, expires_on=end)
    assert (seen.id, seen.properties.not_before, seen.properties.expires_on) == (made.id, begin, end)
    assert seen.properties.tags == {"a": "1"} and seen.properties.enabled and seen.key.n == made.key.n
    assert seen.properties.updated_on > made.properties.updated_on and seen.properties.created_on == made.properties.created_on
    seen = keys.update_key_properties(made.name, made.properties.version, enabled=False, tags={"b": "2"})
    assert (seen.properties.enabled, seen.properties.tags, seen.properties.expires_on) == (False, {"b": "2"}, end)
    seen = keys.update_key_properties(made.name, made.properties.version, key_operations=["decrypt"], tags={})
    assert seen.key_operations == ["decrypt"] and not seen.properties.tags
    current = keys.get_key(made.name)
    assert current.id == newer.id and current.properties.enabled and current.properties.not_before is None
    # Without a version, the newest one is meant.
    assert keys.update_key_properties(made.name, enabled=False).id == newer.id


# contract: azure.use
def test_rsa_keys_encrypt_wrap_and_sign(vault):
    keys = vault.keys()
    made = keys.create_rsa_key(next(names), hardware_protected=True)
    crypto = vault.crypto(made)
    for algorithm in [EncryptionAlgorithm.rsa1_5, EncryptionAlgorithm.rsa_oaep, OAEP]:
        assert crypto.decrypt(algorithm, crypto.encrypt(algorithm, b"plain").ciphertext).plaintext == b"plain"
    for algorithm in [KeyWrapAlgorithm.rsa1_5, KeyWrapAlgorithm.rsa_oaep, KeyWrapAlgorithm.rsa_oaep_256]:
        assert crypto.unwrap_key(algorithm, crypto.wrap_key(algorithm, b"k" * 32).encrypted_key).key == b"k" * 32
    for family in ["RS", "PS"]:
        for bits in [256, 384, 512]:
            digest = hashlib.new(f"sha{bits}", b"message").digest()
            signature = crypto.sign(f"{family}{bits}", digest).signature
            assert crypto.verify(f"{family}{bits}", digest, signature).is_valid
            status, _, body = vault.raw(
                "POST",
                f"/keys/{made.name}/verify?api-version=7.6",
                {"alg": f"{family}{bits}", "digest": encode(digest[::-1]), "value": encode(signature)},
            )
            assert (status, body) == (200, {"value": False})
    # What the vault itself encrypts.
    status, _, body = vault.raw("POST", f"/keys/{made.name}/encrypt?api-version=7.6", {"alg": "RSA-OAEP-256", "value": encode(b"x")})
    assert status == 200 and body["kid"] == made.id
    with refused(*BAD):
        crypto.decrypt(OAEP, b"x" * 256)
    with refused(*BAD):
        crypto.sign("RS256", b"x" * 31)
    for verb, alg in [("sign", "ES256"), ("encrypt", "A256GCM"), ("wrapkey", "A256KW"), ("encrypt", "nothing")]:
        assert use(vault, made, verb, alg, value=b"x" * 32)[0] == 400


# contract: azure.use
@pytest.mark.parametrize("bits", [128, 192, 256])
def test_symmetric_keys_encrypt_and_wrap(hsm, bits):
    made = hsm.keys().create_oct_key(next(names), size=bits, hardware_protected=True)
    crypto = hsm.crypto(made)
    sealed = crypto.encrypt(EncryptionAlgorithm(f"A{bits}GCM"), b"plain", additional_authenticated_data=b"aad")
    more = {"iv": sealed.iv, "authentication_tag": sealed.tag}
    opened = crypto.decrypt(sealed.algorithm, sealed.ciphertext, additional_authenticated_data=b"aad", **more)
    assert opened.plaintext == b"plain"
    with refused(*BAD):
        crypto.decrypt(sealed.algorithm, sealed.ciphertext, additional_authenticated_data=b"other", **more)
    for algorithm, plaintext in [(f"A{bits}CBC", b"p" * 32), (f"A{bits}CBCPAD", b"plain")]:
        iv = os.urandom(16)
        sealed = crypto.encrypt(EncryptionAlgorithm(algorithm), plaintext, iv=iv)
        assert crypto.decrypt(sealed.algorithm, sealed.ciphertext, iv=iv).plaintext == plaintext
    if bits != 192:
        wrapped = crypto.wrap_key(KeyWrapAlgorithm(f"A{bits}KW"), b"k" * 32).encrypted_key
        assert crypto.unwrap_key(KeyWrapAlgorithm(f"A{bits}KW"), wrapped).key == b"k" * 32
    other = 128 if bits == 256 else 256
    assert use(hsm, made, "encrypt", f"A{other}GCM", value=b"x")[0] == 400


# contract: azure.use
def test_a_key_does_only_what_it_may(vault):
    made = vault.keys().create_rsa_key(next(names), key_operations=["decrypt", "verify"])
    for verb, alg in [("encrypt", "RSA-OAEP"), ("wrapkey", "RSA-OAEP"), ("unwrapkey", "RSA-OAEP"), ("sign", "RS256")]:
        assert use(vault, made, verb, alg, value=b"x" * 32) == (403, "KeyOperationForbidden")


# contract: azure.validity
@pytest.mark.parametrize("outside", ["before", "after"])
def test_outside_of_its_time_a_key_still_decrypts_unwraps_and_verifies(start, outside):
    emulator = start("key-vault", "--no-quotas")
    keys = emulator.keys()
    made = keys.create_rsa_key(next(names))
    crypto = emulator.crypto(made)
    sealed, digest = crypto.encrypt(OAEP, b"plain").ciphertext, hashlib.sha256(b"m").digest()
    signature = crypto.sign("RS256", digest).signature
    if outside == "before":
        keys.update_key_properties(made.name, not_before=moment(emulator, 3600))
    else:
        keys.update_key_properties(made.name, expires_on=moment(emulator, 3600))
        emulator.advance(seconds=3601)
    assert use(emulator, made, "decrypt", "RSA-OAEP-256", value=sealed) == (200, None)
    assert use(emulator, made, "unwrapkey", "RSA-OAEP-256", value=sealed) == (200, None)
    assert use(emulator, made, "verify", "RS256", digest=digest, value=signature) == (200, None)
    inner = "KeyNotYetValid" if outside == "before" else "KeyExpired"
    for verb, alg in [("encrypt", "RSA-OAEP"), ("wrapkey", "RSA-OAEP"), ("sign", "RS256")]:
        assert use(emulator, made, verb, alg, value=digest) == (403, inner)
    assert keys.get_key(made.name).id == made.id


# contract: azure.disabled
@pytest.mark.parametrize("reading", ["public_half_works", "does_nothing"])
def test_a_disabled_version_protects_nothing_and_opens_nothing(start, reading):
    emulator = start("key-vault", "--no-quotas", "--premium")
    emulator.read_as(disabled_key=reading)
    keys = emulator.keys()
    old = keys.create_rsa_key(next(names))
    crypto = emulator.crypto(old)
    sealed, digest = crypto.encrypt(OAEP, b"plain").ciphertext, hashlib.sha256(b"m").digest()
    signature = crypto.sign("RS256", digest).signature
    new = keys.create_rsa_key(old.name)
    keys.update_key_properties(old.name, old.properties.version, enabled=False)
    for verb, alg, value in [("decrypt", "RSA-OAEP-256", sealed), ("unwrapkey", "RSA-OAEP-256", sealed), ("sign", "RS256", digest)]:
        assert use(emulator, old, verb, alg, value=value) == (403, "KeyDisabled")
    expected = (200, None) if reading == "public_half_works" else (403, "KeyDisabled")
    assert use(emulator, old, "encrypt", "RSA-OAEP", value=b"x") == expected
    assert use(emulator, old, "wrapkey", "RSA-OAEP", value=b"x") == expected
    assert use(emulator, old, "verify", "RS256", digest=digest, value=signature) == expected
    assert keys.get_key(old.name, old.properties.version).properties.enabled is False
    assert use(emulator, new, "sign", "RS256", value=digest) == (200, None)
    keys.update_key_properties(old.name, old.properties.version, enabled=True)
    assert crypto.decrypt(OAEP, sealed).plaintext == b"plain"


# contract: azure.disabled
def test_a_disabled_symmetric_key_does_nothing(hsm):
    made = hsm.keys().create_oct_key(next(names), hardware_protected=True, enabled=False)
    for verb, alg in [("encrypt", "A256GCM"), ("wrapkey", "A256KW")]:
        assert use(hsm, made, verb, alg, value=b"x" * 32) == (403, "KeyDisabled")


# contract: azure.lists
def test_lists_come_in_pages_of_at_most_25(start):
    emulator = start("key-vault", "--no-quotas")
    keys = emulator.keys()
    made = {keys.create_ec_key(f"Key-{n:02}", tags={"n": f"{n:02}"}).name for n in range(60)}
    versions = {keys.create_ec_key("Versions").id for _ in range(30)}
    seen = list(keys.list_properties_of_keys())
    assert [key.name for key in seen] == sorted(made | {"Versions"}, key=str.lower)
    assert all(key.version is None and key.tags == {"n": key.name[-2:]} for key in seen if key.name in made)
    assert {version.id for version in keys.list_properties_of_key_versions("versions")} == versions
    pages = [list(page) for page in keys.list_properties_of_keys(max_page_size=7).by_page()]
    assert [len(page) for page in pages] == [7] * 8 + [5]
    _, _, first = emulator.raw("GET", "/keys?api-version=7.6")
    assert len(first["value"]) == 25 and first["nextLink"].startswith(f"{emulator.url}:443/keys?")
    _, _, last = emulator.raw("GET", "/keys/versions/versions?api-version=7.6&maxresults=25")
    for query in ["maxresults=0", "maxresults=26", "maxresults=x", "$skiptoken=nonsense"]:
        assert emulator.raw("GET", f"/keys?api-version=7.6&{query}")[0] == 400
    token = last["nextLink"].split("skiptoken=")[1].split("&")[0]
    assert emulator.raw("GET", f"/keys?api-version=7.6&%24skiptoken={token}")[0] == 400, "a token of another list"
    requests = [entry["operation"] for entry in emulator.control("GET", "requests")]
    assert requests.count("GetKeyVersions") == 3


# contract: azure.lists
@pytest.mark.parametrize("order", ["by_id", "oldest_first", "newest_first"])
@pytest.mark.parametrize("pages", ["full", "short"])
def test_every_reading_of_a_list_shows_everything_once(start, order, pages):
    emulator = start("key-vault", "--no-quotas")
    emulator.read_as(versions_order=order, pages=pages)
    keys = emulator.keys()
    made = [keys.create_ec_key("key").id for _ in range(12)]
    seen = [version.id for version in keys.list_properties_of_key_versions("key", max_page_size=5)]
    assert seen == {"by_id": sorted(made), "oldest_first": made, "newest_first": made[::-1]}[order]
    counts = [len(list(page)) for page in keys.list_properties_of_key_versions("key", max_page_size=5).by_page()]
    assert counts == ([5, 5, 2] if pages == "full" else [0, 4, 4, 4])


# contract: azure.delete.soft, azure.delete.name, azure.delete.recover
def test_a_deleted_key_blocks_its_name_until_it_is_recovered_as_it_was(vault):
    keys = vault.keys()
    kek, material = new_kek(keys), pkcs8(rsa_key())
    first = bring(keys, kek, material, tags={"a": "b"})
    second = keys.create_rsa_key(first.name)
    gone = keys.begin_delete_key(first.name).result()
    assert gone.recovery_id == f"{vault.url}/deletedkeys/{first.name}" and gone.id == second.id
    assert gone.scheduled_purge_date - gone.deleted_date == datetime.timedelta(days=90)
    with refused(404, "KeyNotFound"):
        keys.get_key(first.name)
    for again in [lambda: keys.create_rsa_key(first.name), lambda: bring(keys, kek, material, name=first.name.upper())]:
        with refused(409, "Conflict", "ObjectIsDeletedButRecoverable"):
            again()
    assert keys.get_deleted_key(first.name).deleted_date == gone.deleted_date
    assert first.name in [key.name for key in keys.list_deleted_keys()]
    assert first.name not in [key.name for key in keys.list_properties_of_keys()]
    with refused(404, "KeyNotFound"):
        keys.begin_delete_key(first.name)
    assert keys.begin_recover_deleted_key(first.name).result().id == second.id
    assert {version.id for version in keys.list_properties_of_key_versions(first.name)} == {first.id, second.id}
    assert keys.get_key(first.name, first.properties.version).properties.tags == {"a": "b"}
    assert keys.get_key(first.name).id == second.id


# contract: azure.delete.purge
def test_a_purged_name_is_free_again(vault):
    keys = vault.keys()
    first = keys.create_rsa_key(next(names))
    keys.begin_delete_key(first.name).wait()
    keys.purge_deleted_key(first.name)
    with refused(404, "KeyNotFound"):
        keys.get_deleted_key(first.name)
    second = keys.create_rsa_key(first.name)
    assert [version.id for version in keys.list_properties_of_key_versions(first.name)] == [second.id]


# contract: azure.delete.soft, azure.delete.purge
@pytest.mark.parametrize(
    "options,level",
    [
        (["--retention-days", "7"], "CustomizedRecoverable+Purgeable"),
        (["--retention-days", "7", "--purge-protection"], "CustomizedRecoverable"),
        (["--purge-protection"], "Recoverable"),
    ],
)
def test_time_purges_what_was_deleted_and_purge_protection_leaves_it_to_time(start, options, level):
    emulator = start("key-vault", "--no-quotas", *options)
    keys = emulator.keys()
    days = 7 if "--retention-days" in options else 90
    made = keys.create_ec_key("key")
    assert (made.properties.recovery_level, made.properties.recoverable_days) == (level, days)
    keys.begin_delete_key("key").wait()
    if "--purge-protection" in options:
        with refused(403, "Forbidden", "ForbiddenByPolicy"):
            keys.purge_deleted_key("key")
    emulator.advance(days=days - 1)
    assert keys.get_deleted_key("key").id == made.id
    emulator.advance(days=1)
    with refused(404, "KeyNotFound"):
        keys.get_deleted_key("key")
    assert keys.create_ec_key("key").id != made.id


# contract: azure.delete.transition
def test_a_key_on_its_way_is_in_neither_place_and_its_name_is_taken(start):
    emulator = start("key-vault", "--no-quotas")
    emulator.read_as(transition_seconds=30)
    keys = emulator.keys()
    made = keys.create_ec_key("key")
    keys.begin_delete_key("key")
    for missing in [keys.get_key, keys.get_deleted_key]:
        with refused(404, "KeyNotFound"):
            missing("key")
    with refused(409, "Conflict", "ObjectIsBeingDeleted"):
        keys.create_ec_key("key")
    assert list(keys.list_deleted_keys()) == []
    emulator.advance(seconds=30)
    assert keys.get_deleted_key("key").id == made.id
    keys.begin_recover_deleted_key("key")
    for missing in [keys.get_key, keys.get_deleted_key]:
        with refused(404, "KeyNotFound"):
            missing("key")
    with refused(409, "Conflict", "ObjectIsBeingRecovered"):
        keys.create_ec_key("key")
    emulator.advance(seconds=30)
    assert keys.get_key("key").id == made.id


# contract: azure.rotation.imported
def test_imported_keys_and_exchange_keys_have_no_rotation(vault):
    keys = vault.keys()
    kek = new_kek(keys)
    imported = bring(keys, kek, pkcs8(rsa_key()))
    policy = KeyRotationPolicy(lifetime_actions=[KeyRotationLifetimeAction("rotate", time_after_create="P30D")])
    for name in [imported.name, kek.name]:
        with refused(*BAD):
            keys.rotate_key(name)
        with refused(*BAD):
            keys.update_key_rotation_policy(name, policy)
        assert [action.action for action in keys.get_key_rotation_policy(name).lifetime_actions] == ["Notify"]
    made = keys.create_rsa_key(next(names), tags={"a": "b"})
    kept = keys.update_key_rotation_policy(made.name, policy, expires_in="P90D")
    assert kept.expires_in == "P90D" and keys.get_key_rotation_policy(made.name).lifetime_actions[0].action == "rotate"
    rotated = keys.rotate_key(made.name)
    assert rotated.id != made.id and rotated.key.n != made.key.n and rotated.properties.tags == {"a": "b"}
    assert keys.get_key(made.name).id == rotated.id


# contract: azure.rotation.overlap
def test_the_old_version_stays_enabled_when_a_new_one_is_imported(vault):
    keys = vault.keys()
    kek, old = new_kek(keys), rsa_key()
    first = bring(keys, kek, pkcs8(old))
    bring(keys, kek, pkcs8(rsa_key()), name=first.name)
    assert keys.get_key(first.name, first.properties.version).properties.enabled
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    assert vault.crypto(first).decrypt(OAEP, old.public_key().encrypt(b"old", oaep)).plaintext == b"old"


# contract: azure.limits.backup
def test_above_500_versions_there_is_no_backup(start):
    keys = start("key-vault", "--no-quotas").keys()
    for n in range(501):
        keys.create_ec_key("key")
        if n == 499:
            with refused(400, "NotSupported"):
                keys.backup_key("key")
    with refused(*BAD):
        keys.backup_key("key")
    with refused(400, "NotSupported"):
        keys.restore_key_backup(b"backup")


# contract: azure.limits.managed_hsm
@pytest.mark.parametrize("full,status", [("conflict", 409), ("forbidden", 403), ("bad_parameter", 400)])
def test_a_managed_hsm_has_room_for_so_many_keys_and_versions(start, full, status):
    emulator = start("managed-hsm", "--no-quotas", "--most-keys", "3")
    emulator.read_as(full=full)
    keys = emulator.keys()
    kek, material = new_kek(keys), os.urandom(32)
    for _ in range(100):
        keys.create_ec_key("key", hardware_protected=True)
    for another in [
        lambda: keys.create_ec_key("key", hardware_protected=True),
        lambda: bring(keys, kek, material, "oct-HSM", name="key"),
    ]:
        with refused(status):
            another()
    bring(keys, kek, material, "oct-HSM", name="third")
    with refused(status):
        bring(keys, kek, material, "oct-HSM", name="fourth")
    bring(keys, kek, material, "oct-HSM", name="third")


# contract: azure.quota.vault
@pytest.mark.parametrize("reading", ["create", "other"])
def test_a_vault_makes_ten_hsm_keys_in_ten_seconds_and_says_when_to_come_back(start, reading):
    emulator = start("key-vault", "--premium")
    emulator.read_as(import_quota=reading)
    keys = emulator.keys()
    kek = new_kek(keys)
    given = blob(kek, pkcs8(rsa_key()))
    count = 0
    while count < 30:
        try:
            bring(keys, kek, None, given=given)
            count += 1
        except HttpResponseError as error:
            assert (error.status_code, error.error.code) == (429, "Throttled")
            assert 1 <= int(error.response.headers["Retry-After"]) <= 10
            break
    # The key exchange key took one; a slow machine earns a few more meanwhile.
    assert count == 30 if reading == "other" else 9 <= count < 20
    keys.create_ec_key(next(names))  # software keys are counted apart
    emulator.advance(seconds=10)
    bring(keys, kek, None, given=given)
    assert emulator.control("GET", "requests")[-1]["outcome"] == "ok"


# contract: azure.quota.vault
def test_software_keys_and_uses_have_quotas_of_their_own(start):
    emulator = start("key-vault", "--premium")
    limits = emulator.control("POST", "quotas", {})["limits"]
    assert (limits["CreateHsmKey"], limits["CreateSoftwareKey"]) == (10, 20)
    assert (limits["UseHsmKey"], limits["UseHsmKey3072"], limits["UseHsmKey4096"]) == (2000, 500, 250)
    keys = emulator.keys()
    sizes = {size: keys.create_rsa_key(next(names), size=size, hardware_protected=True) for size in (2048, 3072, 4096)}
    emulator.control("POST", "quotas", {"limits": {"UseHsmKey3072": 0, "CreateSoftwareKey": 0}})
    for size, made in sizes.items():
        assert use(emulator, made, "sign", "RS256", value=b"x" * 32)[0] == (429 if size == 3072 else 200)
    with refused(429, "Throttled"):
        keys.create_ec_key(next(names))
    keys.create_ec_key(next(names), hardware_protected=True)


# contract: azure.quota.managed_hsm
def test_a_managed_hsm_makes_one_key_a_second(start):
    emulator = start("managed-hsm")
    keys = emulator.keys()
    limits = emulator.control("POST", "quotas", {})["limits"]
    assert limits == {"CreateKey": 1, "DeleteKey": 10, "GetKey": 1100, "UseAesKey": 2200, "UseRsaKey": 1100}
    outcomes = set()
    for _ in range(5):
        try:
            keys.create_oct_key("key", hardware_protected=True)
            outcomes.add(200)
        except HttpResponseError as error:
            outcomes.add(error.status_code)
            assert error.response.headers["Retry-After"] == "1"
    assert outcomes == {200, 429}
    emulator.advance(seconds=1)
    keys.create_oct_key("key", hardware_protected=True)


# contract: azure.random
def test_a_managed_hsm_gives_random_bytes_and_a_vault_none(hsm, vault):
    keys = hsm.keys()
    one, other = keys.get_random_bytes(128), keys.get_random_bytes(128)
    assert len(one) == 128 and one != other
    with refused(*BAD):
        keys.get_random_bytes(129)
    with refused(400, "NotSupported"):
        vault.keys().get_random_bytes(8)


def attributes(signed):
    """The attributes of an attestation, as the published checker reads them: behind a header of 20 bytes."""
    number = lambda at: int.from_bytes(signed[at : at + 4], "big")
    at, found = 20 + 12, {}
    for _ in range(number(24)):
        kind, length = number(at), number(at + 4)
        found[kind] = signed[at + 8 : at + 8 + length]
        at += 8 + length
    assert len(signed) - at == 256, "the signature"
    return found


def attested(emulator, key):
    """The attributes of a key's private and public half, once every signature was checked."""
    attestation = emulator.keys().get_key_attestation(key.name, key.properties.version).properties.attestation
    root = x509.load_pem_x509_certificate(emulator.text("/_emulator/attestation-root").encode())
    device, by_device, owner, by_owner = x509.load_pem_x509_certificates(attestation.certificate_pem_file)
    device.verify_directly_issued_by(root)
    by_device.verify_directly_issued_by(device)
    owner.verify_directly_issued_by(owner)
    by_owner.verify_directly_issued_by(owner)
    assert by_device.public_key() == by_owner.public_key() and attestation.version == "MRVL-1"
    blobs = [attestation.private_key_attestation, attestation.public_key_attestation]
    for signed in filter(None, blobs):
        by_owner.public_key().verify(signed[-256:], signed[:-256], padding.PKCS1v15(), hashes.SHA256())
    return [signed and attributes(signed) for signed in blobs]


CLASS, ID, KEY_TYPE, SENSITIVE, DECRYPT, UNWRAP = 0x0000, 0x0102, 0x0100, 0x0103, 0x0105, 0x0107
MODULUS, EXTRACTABLE, LOCAL = 0x0120, 0x0162, 0x0163


# contract: azure.attestation
def test_an_attestation_is_signed_under_two_chains_and_tells_what_the_key_is(hsm):
    keys = hsm.keys()
    kek = new_kek(keys)
    private, public = attested(hsm, kek)
    for half in (private, public):
        assert half[ID].decode().split("/")[-2:] == [kek.name, kek.properties.version]
        assert (half[MODULUS], half[KEY_TYPE]) == (kek.key.n, b"\0")
    assert (private[CLASS], public[CLASS]) == (b"\3", b"\2")
    assert (private[SENSITIVE], private[EXTRACTABLE], private[LOCAL]) == (b"\1", b"\0", b"\1")
    assert (private[UNWRAP], private[DECRYPT]) == (b"\1", b"\0"), "a key exchange key unwraps and does not decrypt"
    imported = bring(keys, kek, os.urandom(32), "oct-HSM")
    secret, public = attested(hsm, imported)
    assert public is None and (secret[CLASS], secret[KEY_TYPE]) == (b"\4", b"\x1f")
    assert (secret[SENSITIVE], secret[EXTRACTABLE], secret[LOCAL]) == (b"\1", b"\0", b"\0"), "not made in the HSM"


# contract: azure.attestation
@pytest.mark.parametrize("forgery", ["signature", "key", "extractable", "origin", "uses"])
def test_each_forged_attestation_can_be_told(start, forgery):
    emulator = start("managed-hsm", "--no-quotas", "--forge-attestation", forgery)
    kek = new_kek(emulator.keys())
    if forgery == "signature":
        with pytest.raises(InvalidSignature):
            attested(emulator, kek)
        return
    private, _ = attested(emulator, kek)
    seen = (private[MODULUS] == kek.key.n, private[EXTRACTABLE], private[LOCAL], private[DECRYPT])
    honest = {"key": True, "extractable": b"\0", "origin": b"\1", "uses": b"\0"}
    forged = {"key": False, "extractable": b"\1", "origin": b"\0", "uses": b"\1"}
    assert seen == tuple({**honest, forgery: forged[forgery]}.values())


# contract: azure.attestation
def test_attestations_come_from_a_managed_hsm_and_a_newer_api(hsm, vault):
    made = vault.keys().create_rsa_key(next(names), hardware_protected=True)
    with refused(400, "NotSupported"):
        vault.keys().get_key_attestation(made.name)
    inside = hsm.keys().create_oct_key(next(names), hardware_protected=True)
    for version, expected in [("7.5", 404), ("7.6", 200), ("2025-07-01", 200)]:
        assert hsm.raw("GET", f"/keys/{inside.name}//attestation?api-version={version}")[0] == expected


# contract: azure.import.repeat
def test_a_lost_reply_leaves_a_version_that_its_tag_tells(start):
    emulator = start("key-vault", "--premium", "--no-quotas")
    keys = emulator.keys()
    kek, material = new_kek(keys), rsa_key()
    emulator.fault({"kind": "lost_reply"}, operation="ImportKey")
    with pytest.raises(ServiceResponseError):
        bring(keys, kek, pkcs8(material), name="key", tags={"attempt": "7"})
    version = next(iter(keys.list_properties_of_key_versions("key")))
    assert version.tags == {"attempt": "7"}
    assert number(keys.get_key("key", version.version).key.n) == material.public_key().public_numbers().n


# contract: azure.errors
def test_faults_are_worded_as_the_service_does(start):
    emulator = start("key-vault")
    keys = emulator.keys()
    for effect, expected in [
        ({"kind": "throttle"}, (429, "Throttled", None)),
        ({"kind": "deny"}, (403, "Forbidden", "ForbiddenByRbac")),
        ({"kind": "server_error"}, (500, "InternalServerError", None)),
        ({"kind": "error", "code": "ServiceUnavailable", "status": 503}, (503, "ServiceUnavailable", None)),
    ]:
        emulator.fault(effect, operation="CreateKey")
        with refused(*expected):
            keys.create_ec_key("key")
    assert keys.create_ec_key("key").name == "key"
    assert len(list(keys.list_properties_of_key_versions("key"))) == 1


# contract: azure.delete.soft
def test_a_late_deletion_happens_all_the_same(start):
    emulator = start("key-vault")
    keys = emulator.keys()
    keys.create_ec_key("key")
    emulator.fault({"kind": "late", "after_requests": 1, "close": True}, operation="DeleteKey")
    with pytest.raises(ServiceResponseError):
        keys.begin_delete_key("key")
    assert keys.get_key("key").name == "key"
    assert keys.get_deleted_key("key").name == "key"


# contract: azure.lists
def test_within_the_window_a_read_may_lag(start):
    emulator = start("key-vault", "--no-quotas", "--consistency", "3600")
    keys = emulator.keys()
    keys.create_ec_key("key")
    keys.update_key_properties("key", enabled=False)
    seen = set()
    for _ in range(60):
        try:
            seen.add(keys.get_key("key").properties.enabled)
        except ResourceNotFoundError:
            seen.add(None)
    assert seen == {True, False, None}
    emulator.advance(seconds=3601)
    assert {keys.get_key("key").properties.enabled for _ in range(20)} == {False}
