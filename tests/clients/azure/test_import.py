"""Keys brought to Key Vault and Managed HSM, as azure-keyvault-keys, unchanged, sees the emulator."""

import base64
import datetime
import hashlib
import json
import os

import pytest
from azure.keyvault.keys import JsonWebKey
from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm
from byok import BAD, CURVES, blob, bring, ec_key, encode, names, new_kek, number, pkcs8, public, refused, rsa_key, wrap
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


@pytest.fixture(scope="module")
def keys(vault):
    return vault.keys()


@pytest.fixture(scope="module")
def kek(keys):
    return new_kek(keys)


# contract: azure.kek.create, azure.wrapping, azure.blob
@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_a_key_is_imported_under_a_key_exchange_key_of_each_size(vault, keys, size):
    kek = new_kek(keys, size)
    assert (kek.key_type, kek.key_operations, len(kek.key.n)) == ("RSA-HSM", ["import"], size // 8)
    material = rsa_key()
    imported = bring(keys, kek, pkcs8(material))
    assert imported.key_type == "RSA-HSM"
    secret = os.urandom(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = material.public_key().encrypt(secret, oaep)
    assert vault.crypto(imported).unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped).key == secret


# contract: azure.targets, azure.material, azure.evidence.public
@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_the_public_half_of_an_rsa_key_is_what_was_imported(keys, kek, size):
    material = rsa_key(size)
    imported = bring(keys, kek, pkcs8(material)).key
    numbers = material.public_key().public_numbers()
    assert (number(imported.n), number(imported.e)) == (numbers.n, numbers.e)
    # Without leading zeros: a thumbprint over these members (RFC 7638) is the same on both sides.
    assert len(imported.n) == size // 8 and imported.e == b"\x01\x00\x01"


# contract: azure.targets, azure.material, azure.evidence.public
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("named", [True, False])
def test_the_public_half_of_an_elliptic_key_is_what_was_imported(vault, keys, kek, curve, named):
    material = ec_key(curve)
    imported = bring(keys, kek, pkcs8(material), "EC-HSM", crv=curve if named else None)
    numbers = material.public_key().public_numbers()
    assert (imported.key.crv, number(imported.key.x), number(imported.key.y)) == (curve, numbers.x, numbers.y)
    size = (material.curve.key_size + 7) // 8
    assert len(imported.key.x) == len(imported.key.y) == size
    algorithm, digest = {"P-384": ("ES384", hashes.SHA384), "P-521": ("ES512", hashes.SHA512)}.get(
        curve, ("ES256K" if curve == "P-256K" else "ES256", hashes.SHA256)
    )
    hashed = hashlib.new(digest().name, b"message").digest()
    signature = vault.crypto(imported).sign(algorithm, hashed).signature
    r, s = number(signature[:size]), number(signature[size:])
    material.public_key().verify(utils.encode_dss_signature(r, s), b"message", ec.ECDSA(digest()))


# contract: azure.targets, azure.evidence.known_answer
@pytest.mark.parametrize("length", [16, 24, 32])
def test_a_symmetric_key_in_a_managed_hsm_gives_the_known_answer(hsm, length):
    keys = hsm.keys()
    material = os.urandom(length)
    imported = bring(keys, new_kek(keys), material, "oct-HSM")
    assert imported.key_type == "oct-HSM" and imported.key.k is None
    bits = length * 8
    sealed = hsm.crypto(imported).encrypt(
        EncryptionAlgorithm(f"A{bits}GCM"), b"known answer", additional_authenticated_data=b"context"
    )
    opened = AESGCM(material).decrypt(sealed.iv, sealed.ciphertext + sealed.tag, b"context")
    assert opened == b"known answer"


# contract: azure.kinds, azure.targets
def test_each_service_takes_its_own_kinds_only(standard, vault, hsm, kek):
    with refused(*BAD):
        standard.keys().create_rsa_key(next(names), hardware_protected=True)
    with refused(*BAD):
        new_kek(standard.keys())
    with refused(*BAD):
        bring(standard.keys(), kek, pkcs8(rsa_key()))
    with refused(*BAD):
        vault.keys().create_oct_key(next(names), hardware_protected=True)
    with refused(*BAD):
        bring(vault.keys(), kek, os.urandom(32), "oct-HSM")
    with refused(*BAD):
        hsm.keys().create_rsa_key(next(names))
    assert hsm.keys().create_oct_key(next(names), size=256, hardware_protected=True).key_type == "oct-HSM"
    assert standard.keys().create_rsa_key(next(names)).key_type == "RSA"


# contract: azure.kek.create
@pytest.mark.parametrize(
    "kty,more",
    [
        ("RSA-HSM", {"key_operations": ["import", "encrypt"]}),
        ("RSA-HSM", {"key_operations": ["wrapKey", "unwrapKey", "import"]}),
        ("RSA", {"key_operations": ["import"]}),
        ("EC-HSM", {"key_operations": ["import"]}),
        ("RSA-HSM", {"key_operations": ["import"], "size": 1024}),
    ],
)
def test_a_key_exchange_key_is_an_rsa_key_in_the_hsm_for_nothing_else(keys, kty, more):
    with refused(*BAD):
        keys.create_key(next(names), kty, **more)


# contract: azure.kek.create
def test_a_key_exchange_key_gets_no_other_use_and_no_other_key_becomes_one(vault, keys, kek):
    with refused(*BAD):
        keys.update_key_properties(kek.name, key_operations=["import", "wrapKey"])
    with refused(*BAD):
        keys.update_key_properties(kek.name, key_operations=["wrapKey", "unwrapKey"])
    other = keys.create_rsa_key(next(names), hardware_protected=True)
    with refused(*BAD):
        keys.update_key_properties(other.name, key_operations=["import"])
    path = f"/keys/{kek.name}/{kek.properties.version}"
    for verb, body in [
        ("wrapkey", {"alg": "RSA-OAEP", "value": "eHh4"}),
        ("unwrapkey", {"alg": "RSA-OAEP", "value": "eHh4"}),
        ("encrypt", {"alg": "RSA-OAEP", "value": "eHh4"}),
        ("decrypt", {"alg": "RSA-OAEP", "value": "eHh4"}),
        ("sign", {"alg": "RS256", "value": "eHh4"}),
        ("verify", {"alg": "RS256", "digest": "eHh4", "value": "eHh4"}),
    ]:
        status, _, answer = vault.raw("POST", f"{path}/{verb}?api-version=7.4", body)
        assert (status, answer["error"]["innererror"]["code"]) == (403, "KeyOperationForbidden"), verb
    assert keys.get_key(kek.name).key_operations == ["import"]


# contract: azure.kek.same_vault
def test_a_blob_names_a_version_of_a_key_exchange_key_of_this_vault(vault, hsm, keys, kek):
    material = pkcs8(rsa_key())
    elsewhere = new_kek(hsm.keys())
    ordinary = keys.create_rsa_key(next(names), hardware_protected=True)
    latest = kek.id.rpartition("/")[0]
    for given, kid, expected in [
        (elsewhere, elsewhere.id, BAD),
        (ordinary, ordinary.id, (403, "Forbidden", "KeyOperationForbidden")),
        (kek, latest, BAD),
        (kek, latest + "/", BAD),
        (kek, latest + "/" + "0" * 32, BAD),
        (kek, kek.id.replace("/keys/", "/secrets/"), BAD),
        (kek, kek.id.replace(vault.host, hsm.host), BAD),
        (kek, kek.id.replace(vault.host, vault.host + ".example"), BAD),
        (kek, kek.id.replace("https:", "http:"), BAD),
        (kek, kek.name, BAD),
    ]:
        with refused(*expected):
            bring(keys, kek, None, given=blob(given, material, lambda made: made["header"].update(kid=kid)))


# contract: azure.kek.same_vault
def test_another_key_exchange_key_does_not_open_a_blob(keys, kek):
    other = new_kek(keys)
    assert other.key.n != kek.key.n
    with refused(*BAD):
        bring(keys, kek, None, given=blob(kek, None, ciphertext=wrap(other, pkcs8(rsa_key()))))


# contract: azure.kek.same_vault
def test_a_disabled_expired_or_deleted_key_exchange_key_serves_no_more(start):
    keys = (emulator := start("key-vault", "--premium", "--no-quotas")).keys()
    material = pkcs8(rsa_key())
    kek = new_kek(keys)
    keys.update_key_properties(kek.name, enabled=False)
    with refused(403, "Forbidden", "KeyDisabled"):
        bring(keys, kek, material)
    keys.update_key_properties(kek.name, enabled=True, expires_on=datetime.datetime.fromtimestamp(emulator.now() + 60))
    bring(keys, kek, material)
    emulator.advance(seconds=61)
    with refused(403, "Forbidden", "KeyExpired"):
        bring(keys, kek, material)
    other = new_kek(keys)
    keys.begin_delete_key(other.name)
    with refused(*BAD):
        bring(keys, other, material)


# contract: azure.wrapping
@pytest.mark.parametrize(
    "wrapping",
    [
        {"digest": hashes.SHA256},
        {"digest": hashes.SHA384},
        {"digest": hashes.SHA1, "mgf": hashes.SHA256},
        {"digest": hashes.SHA256, "mgf": hashes.SHA1},
        {"label": b"label"},
        {"kek_bytes": 16},
    ],
)
def test_only_oaep_with_sha1_and_no_label_around_an_aes_256_key_is_opened(keys, kek, wrapping):
    with refused(*BAD):
        bring(keys, kek, pkcs8(rsa_key()), wrapping=wrapping)


# contract: azure.wrapping
def test_a_ciphertext_is_one_rsa_block_and_one_padded_key_wrap(keys, kek):
    material = pkcs8(rsa_key())
    good = wrap(kek, material)
    aes = os.urandom(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    block = public(kek).encrypt(aes, oaep)
    without_padding = material + b"\0" * (-len(material) % 8)
    for what, ciphertext in {
        "a changed byte in the RSA block": bytes([good[0] ^ 1]) + good[1:],
        "a changed byte in the key wrap": good[:-1] + bytes([good[-1] ^ 1]),
        "a block too few": good[:-8],
        "a byte too many": good + b"\0",
        "the RSA block alone": good[:256],
        "half an RSA block": good[:128],
        "nothing": b"",
        "the key wrap without padding": block + keywrap.aes_key_wrap(aes, without_padding),
        "no key wrap": block + material,
        "an RSA block alone around a short key": public(kek).encrypt(os.urandom(32), oaep),
    }.items():
        with refused(*BAD) as refusal:
            bring(keys, kek, None, given=blob(kek, None, ciphertext=ciphertext))
        assert "unwrapped" in refusal.message, what


# contract: azure.blob
@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.update(schema_version="9"),
        lambda made: made.update(schema_version="1.0"),
        lambda made: made.pop("schema_version"),
        lambda made: made["header"].update(enc="CKM_RSA_AES_KEY_WRAP_PAD"),
        lambda made: made["header"].update(enc="RSA_AES_KEY_WRAP_256"),
        lambda made: made["header"].pop("enc"),
        lambda made: made["header"].update(alg="RSA-OAEP"),
        lambda made: made["header"].pop("alg"),
        lambda made: made["header"].pop("kid"),
        lambda made: made.pop("header"),
        lambda made: made.pop("ciphertext"),
        lambda made: made.update(ciphertext="not base64url!"),
        lambda made: made.update(generator=7),
    ],
)
def test_a_blob_of_another_form_is_refused(keys, kek, change):
    with refused(*BAD):
        bring(keys, kek, None, given=blob(kek, pkcs8(rsa_key()), change))


# contract: azure.blob, azure.import.request
def test_key_hsm_is_base64url_or_base64_of_the_blob_and_nothing_else(vault, keys, kek):
    def put(key_hsm):
        body = {"key": {"kty": "RSA-HSM", "key_hsm": key_hsm}, "Hsm": True}
        return vault.raw("PUT", f"/keys/{next(names)}?api-version=7.6", body)

    given = blob(kek, pkcs8(rsa_key()))
    given += b" " * (1 + len(given) % 2)  # bytes that need padding, and 3F or 3E somewhere is likely
    assert put(encode(given))[0] == 200
    assert put(base64.urlsafe_b64encode(given).decode())[0] == 200
    assert put(base64.b64encode(given).decode())[0] == 200
    for wrong in [given.decode(), encode(given)[:-3] + "!!!", encode(b"not json"), encode(b"[]"), "", 7, None]:
        status, _, answer = put(wrong)
        assert (status, answer["error"]["code"]) == BAD, wrong


# contract: azure.material
@pytest.mark.parametrize(
    "kty,material",
    [
        ("RSA-HSM", lambda: pkcs8(rsa_key()) + b"\0"),
        ("RSA-HSM", lambda: pkcs8(rsa_key()) + b"\0" * 8),
        ("RSA-HSM", lambda: pkcs8(rsa_key())[:-1]),
        ("RSA-HSM", lambda: pkcs8(ec_key())),
        ("RSA-HSM", lambda: os.urandom(32)),
        ("RSA-HSM", lambda: pkcs8(rsa_key(1024))),
        ("RSA-HSM", lambda: traditional(rsa_key())),
        ("EC-HSM", lambda: pkcs8(rsa_key())),
        ("EC-HSM", lambda: traditional(ec_key())),
        ("EC-HSM", lambda: pkcs8(ec_key()) + b"\0"),
        ("EC-HSM", lambda: os.urandom(32)),
    ],
)
def test_material_is_exactly_one_pkcs8_structure_of_its_kind(keys, kek, kty, material):
    with refused(*BAD):
        bring(keys, kek, material(), kty)


# contract: azure.material, azure.targets
def test_an_elliptic_key_of_another_curve_than_named_is_refused(keys, kek):
    for wrong in ["P-384", "P-256K", "P-512"]:
        with refused(*BAD):
            bring(keys, kek, pkcs8(ec_key("P-256")), "EC-HSM", crv=wrong)


# contract: azure.material, azure.targets
@pytest.mark.parametrize("length", [1, 15, 20, 31, 33, 64])
def test_a_symmetric_key_has_128_192_or_256_bits(hsm, length):
    keys = hsm.keys()
    with refused(*BAD):
        bring(keys, new_kek(keys), os.urandom(length), "oct-HSM")


# contract: azure.import.request
def test_an_import_says_what_it_is(keys, kek):
    material = pkcs8(rsa_key())
    with refused(*BAD):  # a transfer blob for a key that says that it is none of an HSM
        bring(keys, kek, material, "RSA", hsm=True)
    with refused(*BAD):
        bring(keys, kek, material, "RSA", hsm=False)
    with refused(*BAD):
        bring(keys, kek, material, hsm=False)
    with refused(*BAD):  # a key exchange key is made in the HSM
        bring(keys, kek, material, ops=["import"])
    with refused(*BAD):
        bring(keys, kek, pkcs8(ec_key()), "EC-HSM", ops=["encrypt"])
    assert bring(keys, kek, material, hsm=None).key_type == "RSA-HSM"
    assert bring(keys, kek, material, ops=["sign"]).key_operations == ["sign"]


# contract: azure.import.request
def test_names_are_letters_digits_and_hyphens(vault, keys, kek):
    body = {"key": {"kty": "RSA-HSM", "key_hsm": encode(blob(kek, pkcs8(rsa_key())))}, "Hsm": True}
    for name in ["with_underscore", "with.point", "with%20space", "a" * 128, "k%C3%A4y"]:
        status, _, answer = vault.raw("PUT", f"/keys/{name}?api-version=7.6", body)
        assert (status, answer["error"]["code"]) == BAD, name
    assert bring(keys, kek, pkcs8(rsa_key()), name="A-" + next(names) + "a" * 100).name.endswith("aaa")


# contract: azure.import.request
def test_names_are_the_same_in_either_case(keys, kek):
    name = "Mixed-" + next(names)
    one = bring(keys, kek, pkcs8(rsa_key()), name=name)
    two = bring(keys, kek, pkcs8(rsa_key()), name=name.lower())
    assert two.properties.version != one.properties.version and two.name == name
    assert keys.get_key(name.upper()).id == two.id


# contract: azure.import.request
def test_tags_and_attributes_come_with_the_import(keys, kek):
    begins = datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone.utc)
    more = {"tags": {"placement": "p1", "attempt": "7"}, "enabled": False, "not_before": begins}
    imported = bring(keys, kek, pkcs8(rsa_key()), **more)
    for seen in [imported.properties, keys.get_key(imported.name).properties]:
        assert seen.tags == more["tags"] and seen.enabled is False and seen.not_before == begins
    for tags in [{f"t{n}": "" for n in range(16)}, {"n" * 257: ""}, {"n": "v" * 257}]:
        with refused(*BAD):
            bring(keys, kek, pkcs8(rsa_key()), tags=tags)


# contract: azure.import.repeat, azure.import.activation
def test_each_import_makes_a_version_and_the_newest_is_current_at_once(vault, keys, kek):
    name = next(names)
    one, other = rsa_key(), rsa_key()
    first = bring(keys, kek, pkcs8(one), name=name, tags={"attempt": "1"})
    again = bring(keys, kek, pkcs8(one), name=name, tags={"attempt": "2"})
    assert again.id != first.id and again.key.n == first.key.n
    third = bring(keys, kek, pkcs8(other), name=name)
    assert keys.get_key(name).id == third.id
    versions = {seen.id: seen for seen in keys.list_properties_of_key_versions(name)}
    assert set(versions) == {first.id, again.id, third.id}
    assert [versions[made.id].tags for made in (first, again, third)] == [{"attempt": "1"}, {"attempt": "2"}, None]
    assert all(seen.enabled for seen in versions.values())
    assert vault.raw("DELETE", f"/keys/{name}/{first.properties.version}?api-version=7.6")[0] == 405
    # What the first version encrypted, it decrypts still.
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    sealed = one.public_key().encrypt(b"old", oaep)
    assert vault.crypto(first).decrypt(EncryptionAlgorithm.rsa_oaep, sealed).plaintext == b"old"
    with refused(*BAD):
        vault.crypto(third).decrypt(EncryptionAlgorithm.rsa_oaep, sealed)


# contract: azure.import.request
def test_a_software_key_is_imported_by_its_parts(standard):
    keys = standard.keys()
    material = rsa_key()
    imported = keys.import_key(next(names), parts(material))
    assert imported.key_type == "RSA" and number(imported.key.n) == material.public_key().public_numbers().n
    signed = standard.crypto(imported).sign("PS256", hashlib.sha256(b"message").digest()).signature
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    material.public_key().verify(signed, b"message", pss, hashes.SHA256())
    point = ec_key()
    imported = keys.import_key(next(names), parts(point))
    assert number(imported.key.x) == point.public_key().public_numbers().x
    broken = parts(material)
    broken.d = parts(rsa_key()).d
    with refused(*BAD):
        keys.import_key(next(names), broken)


# contract: azure.import.request
def test_parts_of_a_key_do_not_go_into_an_hsm_unless_it_is_read_so(start):
    emulator = start("key-vault", "--premium", "--no-quotas")
    keys = emulator.keys()
    with refused(*BAD):
        keys.import_key(next(names), parts(rsa_key()), hardware_protected=True)
    with refused(*BAD):
        keys.import_key(next(names), parts(rsa_key(), kty="RSA-HSM"))
    emulator.read_as(plain_key_into_hsm="accepted")
    assert keys.import_key(next(names), parts(rsa_key()), hardware_protected=True).key_type == "RSA-HSM"


# contract: azure.import.request
def test_the_journal_shows_the_wrapped_bytes_and_the_dump_their_hash(vault, keys, kek):
    name, material = next(names), pkcs8(rsa_key())
    ciphertext = wrap(kek, material)
    bring(keys, kek, None, given=blob(kek, None, ciphertext=ciphertext), name=name, tags={"a": "b"})
    entry = [entry for entry in vault.requests("ImportKey") if entry["key_id"] == name][-1]
    assert entry["wrapped_material"] == ciphertext.hex() and entry["outcome"] == "ok" and entry["mutation"] > 0
    assert entry["body"]["tags"] == {"a": "b"}
    dumped = next(key for key in vault.control("GET", "dump")["keys"] if key["id"] == name)
    assert dumped["state"] == "enabled" and dumped["tags"] == {"a": "b"}
    assert [held["sha256"] for held in dumped["materials"]] == [hashlib.sha256(material).hexdigest()]
    assert material.hex() not in json.dumps(vault.control("GET", "dump"))


def traditional(key):
    encoding, form = serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def parts(key, kty=None):
    """A key in plain text."""
    big = lambda value, length=None: value.to_bytes(length or (value.bit_length() + 7) // 8, "big")
    numbers = key.private_numbers()
    if hasattr(numbers, "private_value"):
        public = numbers.public_numbers
        point = {"x": big(public.x, 32), "y": big(public.y, 32), "d": big(numbers.private_value, 32)}
        return JsonWebKey(kty=kty or "EC", crv="P-256", key_ops=["sign", "verify"], **point)
    crt = {"p": numbers.p, "q": numbers.q, "d": numbers.d, "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    public = {"n": numbers.public_numbers.n, "e": numbers.public_numbers.e}
    members = {name: big(value) for name, value in {**public, **crt}.items()}
    return JsonWebKey(kty=kty or "RSA", key_ops=["sign", "verify"], **members)
