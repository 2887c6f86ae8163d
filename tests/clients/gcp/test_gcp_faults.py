"""What goes wrong on purpose: quotas, lag, faults, spoiled answers; and what the control interface tells."""

import contextlib
import threading

import google_crc32c
import pytest
import requests
from gcp_names import LOCATION
from gcp_refused import refused
from gcp_wrap import wrap
from google.api_core.exceptions import GoogleAPICallError

KEY = bytes(range(32))


def lost(call):
    """The connection ends without an answer."""
    with pytest.raises((requests.exceptions.ConnectionError, GoogleAPICallError)) as caught:
        call()
    assert not isinstance(caught.value, GoogleAPICallError) or caught.value.response is None


def details(error):
    return {detail["@type"].rsplit(".")[-1]: detail for detail in error["details"]}


def granted(emulator, request):
    """How many requests pass before the first that does not, that one's error, and the seconds that they took."""
    clock = lambda: emulator.control("GET", "state")["now"] / 1e6
    began = clock()
    for n in range(2000):
        status, answer = request(n)
        if status != 200:
            assert status == 429, answer
            return n, answer["error"], clock() - began
    raise AssertionError("nothing was ever too much")


# contract: gcp.quota.requests, gcp.errors
def test_reads_and_writes_have_tokens_a_minute(start):
    emulator = start()
    ring = emulator.ring()
    path = f"/v1/{ring}"
    create = lambda n: emulator.request("POST", f"{path}/cryptoKeys?cryptoKeyId=k{n}", {"purpose": 1})
    writes, error, seconds = granted(emulator, create)
    # One more write made the ring, and the bucket fills while the test runs.
    assert 59 <= writes <= 61 + seconds
    assert error["status"] == "RESOURCE_EXHAUSTED"
    found = details(error)
    assert found["ErrorInfo"]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert found["ErrorInfo"]["metadata"]["quota_location"] == "europe-west3"
    assert found["QuotaFailure"]["violations"] and found["RetryInfo"]["retryDelay"] == "1s"
    # Another class and another location have tokens of their own.
    assert emulator.request("GET", path)[0] == 200
    elsewhere = f"/v1/{LOCATION.replace('europe-west3', 'us-east1')}/keyRings?keyRingId=r"
    assert emulator.request("POST", elsewhere, {})[0] == 200
    emulator.advance(seconds=60)
    assert create("later")[0] == 200
    reads, _, seconds = granted(emulator, lambda _: emulator.request("GET", path))
    assert 600 <= reads <= 601 + 10 * seconds


# contract: gcp.quota.requests
def test_using_a_key_counts_by_its_protection_level(start):
    emulator = start()
    ring = emulator.ring()
    software, hsm = emulator.key(ring), emulator.key(ring, level="HSM")
    emulator.control("POST", "quotas", {"limits": {"HSM": 1, "Software": 2}})
    emulator.kms.encrypt(name=hsm, plaintext=b"x")
    with refused("RESOURCE_EXHAUSTED", 429):
        emulator.kms.encrypt(name=hsm + "/cryptoKeyVersions/1", plaintext=b"x")
    emulator.kms.encrypt(name=software, plaintext=b"x")
    emulator.kms.encrypt(name=software, plaintext=b"x")
    with refused("RESOURCE_EXHAUSTED", 429):
        emulator.kms.encrypt(name=software, plaintext=b"x")
    emulator.control("POST", "quotas", {"on": False})
    emulator.kms.encrypt(name=hsm, plaintext=b"x")


# contract: gcp.consistency
def test_a_disabled_version_may_still_work_and_then_does_not(start):
    emulator = start("--no-quotas", "--consistency", "3600")
    key = emulator.key(emulator.ring())
    version = f"{key}/cryptoKeyVersions/1"
    sealed = emulator.kms.encrypt(name=key, plaintext=b"x").ciphertext
    disabled = {"name": version, "state": "DISABLED"}
    emulator.kms.update_crypto_key_version(crypto_key_version=disabled, update_mask={"paths": ["state"]})

    def works():
        try:
            return emulator.kms.decrypt(name=key, ciphertext=sealed).plaintext == b"x"
        except GoogleAPICallError as error:
            assert "DISABLED" in error.message
            return False

    # What is read is strong all the time: only the use of the version lags.
    seen = {emulator.version(version).state.name for _ in range(20)}
    assert seen == {"DISABLED"}
    assert {works() for _ in range(60)} == {True, False}
    emulator.advance(hours=1)
    assert {works() for _ in range(20)} == {False}


# contract: gcp.consistency
def test_encrypting_may_still_use_the_primary_version_of_before(start):
    emulator = start("--no-quotas", "--consistency", "3600")
    key = emulator.key(emulator.ring())
    emulator.kms.create_crypto_key_version(parent=key, crypto_key_version={})
    emulator.kms.update_crypto_key_primary_version(name=key, crypto_key_version_id="2")
    used = lambda: emulator.kms.encrypt(name=key, plaintext=b"x").name[-1]
    assert {emulator.kms.get_crypto_key(name=key).primary.name[-1] for _ in range(20)} == {"2"}
    assert {used() for _ in range(60)} == {"1", "2"}
    # A version that is named is used.
    assert {emulator.kms.encrypt(name=f"{key}/cryptoKeyVersions/2", plaintext=b"x").name[-1] for _ in range(20)} == {"2"}
    emulator.advance(hours=1)
    assert {used() for _ in range(20)} == {"2"}


# contract: gcp.consistency
def test_creating_keys_and_enabling_versions_count_at_once(start):
    emulator = start("--no-quotas", "--consistency", "3600")
    ring = emulator.ring()
    for _ in range(10):
        key = emulator.key(ring)
        version = f"{key}/cryptoKeyVersions/1"
        for state in ("DISABLED", "ENABLED"):
            change = {"name": version, "state": state}
            emulator.kms.update_crypto_key_version(crypto_key_version=change, update_mask={"paths": ["state"]})
        for _ in range(5):
            emulator.kms.encrypt(name=key, plaintext=b"x")


# contract: gcp.import.repeat
def test_a_lost_reply_of_an_import_leaves_a_version_that_its_job_tells(start):
    emulator = start("--no-quotas", "--pending-millis", "0")
    ring = emulator.ring()
    key, job = emulator.shell(ring), emulator.job(ring)
    request = {"parent": key, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "import_job": job.name, "wrapped_key": wrap(job, KEY)}
    emulator.fault({"kind": "lost_reply"}, operation="ImportCryptoKeyVersion")
    lost(lambda: emulator.kms.import_crypto_key_version(request=request, retry=None))
    (version,) = emulator.kms.list_crypto_key_versions(parent=key)
    assert (version.state.name, version.import_job) == ("ENABLED", job.name)


# contract: gcp.errors
@pytest.mark.parametrize(
    "effect, status, http",
    [
        ({"kind": "throttle"}, "RESOURCE_EXHAUSTED", 429),
        ({"kind": "deny"}, "PERMISSION_DENIED", 403),
        ({"kind": "server_error"}, "INTERNAL", 500),
        ({"kind": "error", "code": "UNAVAILABLE", "status": 503}, "UNAVAILABLE", 503),
        ({"kind": "error", "code": "ABORTED", "status": 409}, "ABORTED", 409),
    ],
)
def test_a_fault_looks_like_the_clouds_own(start, effect, status, http):
    emulator = start("--no-quotas")
    ring = emulator.ring()
    emulator.fault(effect, operation="CreateCryptoKey")
    answer = emulator.request("POST", f"/v1/{ring}/cryptoKeys?cryptoKeyId=k", {"purpose": 1})
    assert (answer[0], answer[1]["error"]["code"], answer[1]["error"]["status"]) == (http, http, status)
    if effect["kind"] == "deny":
        assert details(answer[1]["error"])["ErrorInfo"]["metadata"]["permission"] == "cloudkms.cryptoKeys.create"
    assert emulator.control("GET", "dump")["keys"] == []
    # A server error is no outcome: nobody knows what came of the request.
    outcome = None if effect["kind"] == "server_error" else status
    assert emulator.control("GET", "requests")[-1].get("outcome") == outcome
    assert emulator.request("POST", f"/v1/{ring}/cryptoKeys?cryptoKeyId=k", {"purpose": 1})[0] == 200


def test_an_error_may_hide_an_effect(start):
    emulator = start("--no-quotas")
    ring = emulator.ring()
    emulator.fault({"kind": "server_error", "applied": True}, operation="CreateCryptoKey")
    assert emulator.request("POST", f"/v1/{ring}/cryptoKeys?cryptoKeyId=k", {"purpose": 1})[0] == 500
    assert emulator.request("POST", f"/v1/{ring}/cryptoKeys?cryptoKeyId=k", {"purpose": 1})[0] == 409


def test_a_halted_cloud_is_silent_until_it_is_resumed(start):
    emulator = start("--no-quotas")
    emulator.fault({"kind": "halt", "when": "before_effect"}, mutation=1)
    path = f"/v1/{LOCATION}/keyRings?keyRingId=r"

    def create():
        # The connection ends with the emulator: nobody waits for an answer.
        with contextlib.suppress(requests.exceptions.ConnectionError):
            requests.post(emulator.url + path, json={}, timeout=60)

    threading.Thread(target=create, daemon=True).start()
    halted = emulator.until(lambda: emulator.control("GET", "state")["halted"], lambda halted: halted)
    assert (halted["operation"], halted["mutation"]) == ("CreateKeyRing", 1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(f"{emulator.url}/v1/{LOCATION}/keyRings", timeout=0.3)
    emulator.control("POST", "resume", {"apply": True})
    assert emulator.control("GET", "dump")["key_rings"] == [f"{LOCATION}/keyRings/r"]


def test_the_journal_names_what_was_asked(start):
    emulator = start("--no-quotas", "--pending-millis", "0", "--reveal-material")
    ring = emulator.ring()
    key, job = emulator.shell(ring, labels={"owner": "keyplane"}), emulator.job(ring)
    wrapped = wrap(job, KEY)
    version = emulator.bring(key, job, wrapped)
    entries = emulator.control("GET", "requests")
    told = [(entry["operation"], entry["key_id"], entry["outcome"]) for entry in entries if entry.get("mutation")]
    assert told == [
        ("CreateKeyRing", ring, "ok"),
        ("CreateCryptoKey", key, "ok"),
        ("CreateImportJob", job.name, "ok"),
        ("ImportCryptoKeyVersion", key, "ok"),
    ]
    imported = next(entry for entry in entries if entry["operation"] == "ImportCryptoKeyVersion")
    assert imported["wrapped_material"] == wrapped.hex() and imported["region"] == "europe-west3"
    assert imported["body"]["importJob"] == job.name and imported["mutation"] == 4
    (dumped,) = emulator.control("GET", "dump")["keys"]
    assert (dumped["name"], dumped["id"]) == (key, key.rsplit("/")[-1])
    assert (dumped["state"], dumped["tags"]) == ("ENABLED", {"owner": "keyplane"})
    (material,) = dumped["materials"]
    assert (material["id"], material["state"], material["bytes"]) == (version.name[-1], "ENABLED", KEY.hex())


# contract: gcp.crc32c
def test_a_spoiled_checksum_is_one_that_does_not_fit(start):
    emulator = start("--no-quotas", "--pending-millis", "0")
    ring = emulator.ring()
    key = emulator.key(ring)
    mac = emulator.key(ring, purpose="MAC", algorithm="HMAC_SHA256") + "/cryptoKeyVersions/1"
    emulator.read(spoiled={"checksum": True, "verification": True})
    crc = google_crc32c.value
    sealed = emulator.kms.encrypt(request={"name": key, "plaintext": b"x", "plaintext_crc32c": crc(b"x")})
    assert sealed.ciphertext_crc32c != crc(sealed.ciphertext) and not sealed.verified_plaintext_crc32c
    assert emulator.kms.decrypt(name=key, ciphertext=sealed.ciphertext).plaintext_crc32c != crc(b"x")
    signed = emulator.kms.mac_sign(name=mac, data=b"x")
    assert signed.mac_crc32c != crc(signed.mac)
    verified = emulator.kms.mac_verify(name=mac, data=b"x", mac=signed.mac)
    assert verified.success != verified.verified_success_integrity


def test_control_speaks_the_same_words_for_every_cloud(start):
    emulator = start("--no-quotas")
    assert set(emulator.control("GET", "state")) == {"now", "requests", "mutations", "halted"}
    readings = emulator.control("GET", "readings")
    assert readings["bad_material"] == "later" and readings["job_millis"] == 200
    assert emulator.control("POST", "consistency", {"seconds": 5}) == {"seconds": 5}
    assert emulator.control("GET", "faults") == []
    assert emulator.control("POST", "quotas", {"on": True})["limits"] == {"HSM": 3000, "Read": 600, "Software": 60000, "Write": 60}
