"""Who may call, through the official client's own credentials."""

import json
import time

import google.auth.transport.requests
import jwt
import pytest
import requests
from gcp_names import LOCATION
from gcp_refused import refused
from google.auth import compute_engine, identity_pool
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def guarded(start, tmp_path):
    """An emulator that wants an account's tokens, and the account's key file."""
    file = tmp_path / "account.json"
    emulator = start("--no-quotas", "--make-service-account", str(file))
    return emulator, file


def rings(emulator, credentials=None):
    return [ring.name for ring in emulator.client(credentials or Nobody()).list_key_rings(parent=LOCATION)]


class Bearer(google.auth.credentials.Credentials):
    """A token that somebody has, and no other: the client asks for one whenever it is turned away."""

    def __init__(self, token):
        super().__init__()
        self.token = token

    def refresh(self, request):
        pass


class Nobody(google.auth.credentials.AnonymousCredentials):
    """No token at all."""

    def refresh(self, request):
        pass


def assertion(account, **changes):
    now = int(time.time())
    claims = {"iss": account["client_email"], "scope": SCOPE, "aud": account["token_uri"], "iat": now, "exp": now + 3600, **changes}
    headers = {"kid": account["private_key_id"]}
    return jwt.encode(claims, account["private_key"], algorithm="RS256", headers=headers)


# contract: gcp.credentials.service_account, gcp.errors
def test_without_a_token_nobody_comes_in(guarded):
    emulator, _ = guarded
    with refused("UNAUTHENTICATED", 401):
        rings(emulator)
    with refused("UNAUTHENTICATED", 401):
        rings(emulator, Bearer("ya29.made-up"))
    answer = requests.get(f"{emulator.url}/v1/{LOCATION}/keyRings", timeout=10)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    # What was turned away was never a request.
    assert emulator.control("GET", "state")["requests"] == 0


# contract: gcp.credentials.service_account
def test_an_account_gets_a_token_for_its_assertion(guarded):
    emulator, file = guarded
    credentials = service_account.Credentials.from_service_account_file(str(file), scopes=[SCOPE])
    credentials.refresh(google.auth.transport.requests.Request())
    assert credentials.token.startswith("ya29.") and not credentials.expired
    assert rings(emulator, Bearer(credentials.token)) == []


# contract: gcp.credentials.service_account
def test_the_client_as_it_comes_signs_its_own_tokens(guarded):
    emulator, file = guarded
    assert rings(emulator, service_account.Credentials.from_service_account_file(str(file))) == []


# contract: gcp.credentials.service_account
def test_an_account_of_an_earlier_emulator_still_serves(guarded, start):
    _, file = guarded
    emulator = start("--no-quotas", "--service-account", str(file))
    assert rings(emulator, service_account.Credentials.from_service_account_file(str(file))) == []
    with refused("UNAUTHENTICATED"):
        rings(emulator)


# contract: gcp.credentials.service_account
def test_an_assertion_must_be_right_in_every_part(guarded, tmp_path, start):
    emulator, file = guarded
    account = json.loads(file.read_text())
    other_file = tmp_path / "other.json"
    start("--make-service-account", str(other_file), "--seed", "1")
    other = json.loads(other_file.read_text())
    ask = lambda form: requests.post(f"{emulator.url}/token", data={"grant_type": GRANT, **form}, timeout=10)
    # Google's own clients name Google's endpoint, whatever the key file says; others name the key file's.
    for audience in (account["token_uri"], "https://oauth2.googleapis.com/token"):
        assert ask({"assertion": assertion(account, aud=audience)}).json()["token_type"] == "Bearer"
    now = int(time.time())
    for wrong in (
        assertion({**account, "private_key": other["private_key"]}),
        assertion({**account, "private_key_id": other["private_key_id"]}),
        assertion(account, iss="other@example.com"),
        assertion(account, aud="https://pubsub.googleapis.com/"),
        assertion(account, iat=now - 7200, exp=now - 3600),
        assertion(account, iat=now + 3600, exp=now + 7200),
        assertion(account, exp=now + 86400),
        jwt.encode({"iss": account["client_email"]}, "", algorithm="none"),
        "nonsense",
    ):
        answer = ask({"assertion": wrong})
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_grant"})
    assert ask({"assertion": assertion(account, scope="https://www.googleapis.com/auth/drive")}).json() == {"error": "invalid_scope"}
    assert ask({}).json() == {"error": "invalid_request"}
    assert ask({"grant_type": "password"}).json() == {"error": "unsupported_grant_type"}


# contract: gcp.credentials.service_account
def test_a_token_of_ones_own_is_for_this_service(guarded):
    emulator, file = guarded
    account = json.loads(file.read_text())
    sign = lambda **changes: Bearer(assertion(account, **{"sub": account["client_email"], **changes}))
    assert rings(emulator, sign()) == []
    assert rings(emulator, sign(scope="", aud="https://cloudkms.googleapis.com/")) == []
    for wrong in ({"scope": ""}, {"sub": "other@example.com"}, {"scope": "", "aud": "https://pubsub.googleapis.com/"}):
        with refused("UNAUTHENTICATED"):
            rings(emulator, sign(**wrong))


# contract: gcp.credentials.metadata
def test_a_machine_asks_its_metadata_server(guarded, monkeypatch):
    emulator, file = guarded
    # What the environment variable GCE_METADATA_HOST says, for a process that has read it already.
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", emulator.address)
    credentials = compute_engine.Credentials(scopes=[SCOPE], universe_domain="googleapis.com")
    token = f"{emulator.url}/computeMetadata/v1/instance/service-accounts/default/token"
    answer = requests.get(token, headers={"Metadata-Flavor": "Google"}, timeout=10)
    assert answer.headers["Metadata-Flavor"] == "Google" and answer.json()["token_type"] == "Bearer"
    assert rings(emulator, Bearer(answer.json()["access_token"])) == []
    assert rings(emulator, credentials) == []
    assert credentials.service_account_email == json.loads(file.read_text())["client_email"]
    # A request that somebody else made the machine send has no such header.
    for headers in ({}, {"Metadata-Flavor": "google"}):
        refusal = requests.get(token, headers=headers, timeout=10)
        assert (refusal.status_code, refusal.text) == (403, "")


# contract: gcp.credentials.federation
def test_a_workload_outside_exchanges_its_token(start, tmp_path):
    subject = tmp_path / "subject"
    subject.write_text("the-workloads-token")
    emulator = start("--no-quotas", "--make-service-account", str(tmp_path / "a.json"), "--subject-token", str(subject))

    def credentials(file):
        return identity_pool.Credentials.from_info(
            {
                "type": "external_account",
                "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/p",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{emulator.url}/v1/token",
                "credential_source": {"file": str(file)},
            },
            scopes=[SCOPE],
        )

    assert rings(emulator, credentials(subject)) == []
    other = tmp_path / "other"
    other.write_text("another-token")
    with pytest.raises(Exception, match="invalid_grant"):
        rings(emulator, credentials(other))
    ask = lambda **form: requests.post(f"{emulator.url}/v1/token", data=form, timeout=10).json()
    exchange = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": "a", "subject_token": "the-workloads-token"}
    assert ask(**exchange) == {"error": "invalid_request"}
    assert ask(grant_type=GRANT) == {"error": "unsupported_grant_type"}
    asked = ask(**exchange, subject_token_type="urn:ietf:params:oauth:token-type:jwt")
    assert asked["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"


# contract: gcp.credentials.service_account
def test_without_an_account_any_token_and_none_is_accepted(emulator):
    assert isinstance(rings(emulator), list)
    assert isinstance(rings(emulator, Bearer("anything")), list)
