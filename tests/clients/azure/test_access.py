"""How azure-identity and azure-keyvault-keys, unchanged, get into a vault."""

import base64
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.identity import (
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.keys import ApiVersion, KeyClient
from byok import encode, names, rsa_key
from conftest import TENANT, ports
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

CLIENT = ("--client-id", "client", "--client-secret", "secret")
ISSUER = "https://issuer.example/cluster"
SUBJECT = "system:serviceaccount:keys:keyplane"


class Fixed:
    """A credential that gives one token, whatever is asked."""

    def __init__(self, token):
        self.token, self.asked = token, []

    def get_token(self, *scopes, **options):
        self.asked.append((scopes, options.get("tenant_id")))
        return AccessToken(self.token, int(time.time()) + 3600)


def token(emulator, **form):
    """Asks for a token without azure-identity."""
    usual = {
        "grant_type": "client_credentials",
        "client_id": "client",
        "client_secret": "secret",
        "scope": "https://vault.azure.net/.default",
    }
    tenant = form.pop("tenant", TENANT)
    form = {name: value for name, value in {**usual, **form}.items() if value is not None}
    request = urllib.request.Request(
        f"https://localhost:{emulator.port}/{tenant}/oauth2/v2.0/token", urllib.parse.urlencode(form).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=20, context=emulator.context()) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# contract: azure.challenge
@pytest.mark.parametrize("kind,resource", [("key-vault", "vault.azure.net"), ("managed-hsm", "managedhsm.azure.net")])
def test_the_first_request_has_no_token_and_no_body_and_is_challenged(start, kind, resource):
    emulator = start(kind, "--no-quotas")
    seen = []
    keys = emulator.keys(raw_request_hook=lambda request: seen.append((request.http_request, request.http_request.headers)))
    keys.create_key(next(names), "RSA-HSM" if kind == "managed-hsm" else "RSA")
    status, headers, body = emulator.raw("POST", "/keys/a/create?api-version=7.6", token=None)
    assert status == 401
    assert headers["WWW-Authenticate"] == (
        f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://{resource}"'
    )
    assert body == {"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}}
    # It was never counted: what comes without a token does nothing.
    assert [entry["operation"] for entry in emulator.control("GET", "requests")] == ["CreateKey"]


# contract: azure.challenge
def test_the_client_asks_for_a_token_of_the_tenant_and_the_resource_that_the_challenge_names(vault):
    credential = Fixed("anything")
    vault.keys(credential).create_rsa_key(next(names))
    # The SDK keeps a challenge for a vault: this vault may have been asked before.
    assert credential.asked[0] == (("https://vault.azure.net/.default",), TENANT)


# contract: azure.challenge
def test_the_port_of_an_address_comes_back_in_every_address(start):
    emulator = start("key-vault", "--no-quotas")
    url = f"{emulator.url}:{emulator.port}"
    ports[emulator.host] = emulator.port
    keys = emulator.keys(url=url)
    made = keys.create_rsa_key(next(names))
    assert made.id.startswith(f"{url}/keys/")
    _, headers, _ = emulator.raw("GET", "/keys?api-version=7.6", token=None, headers={"Host": f"{emulator.host}:{emulator.port}"})
    assert headers["WWW-Authenticate"].endswith(f'resource="https://vault.azure.net:{emulator.port}"')


# contract: azure.challenge
def test_the_name_of_the_vault_is_proven_under_the_private_authority_and_no_other(start):
    one, other = start(), start()
    with pytest.raises(ServiceRequestError, match="certificate verify failed"):
        KeyClient(one.url, Fixed("x"), retry_total=0).get_key("a")
    with pytest.raises(ServiceRequestError, match="certificate verify failed"):
        one.keys(Fixed("x"), connection_verify=other.ca).get_key("a")
    ports["impostor.vault.azure.net"] = one.port
    with pytest.raises(ServiceRequestError, match="impostor"):
        one.keys(Fixed("x"), url="https://impostor.vault.azure.net").get_key("a")
    for name in [one.host, "localhost", "login.microsoftonline.com"]:
        with socket.create_connection(("127.0.0.1", one.port)) as plain:
            with one.context().wrap_socket(plain, server_hostname=name) as secured:
                assert secured.version() in ("TLSv1.2", "TLSv1.3")


# contract: azure.challenge
def test_whoever_shakes_no_hands_holds_up_nobody(vault):
    with socket.create_connection(("127.0.0.1", vault.port)), socket.create_connection(("127.0.0.1", vault.port)) as other:
        other.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert vault.raw("GET", "/keys?api-version=7.6")[0] == 200


# contract: azure.credentials.secret
def test_a_secret_gets_a_token_that_lets_in(start):
    emulator = start("key-vault", *CLIENT)
    assert emulator.keys().create_rsa_key(next(names)).key_type == "RSA"
    for wrong, why in [
        ({"secret": "wrong"}, "AADSTS7000215"),
        ({"client": "wrong"}, "AADSTS700016"),
        # The SDK reads the tenant out of the challenge, and sees for itself that it is another one.
        ({"tenant": TENANT.replace("1", "9")}, "not configured to acquire tokens for tenant"),
    ]:
        with pytest.raises(ClientAuthenticationError, match=why):
            emulator.keys(emulator.credential(**wrong)).get_key("a")


# contract: azure.credentials.secret
def test_every_setting_as_it_is_but_for_name_resolution(start, monkeypatch):
    emulator = start("key-vault", *CLIENT)
    monkeypatch.setitem(ports, "login.microsoftonline.com", emulator.port)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.ca)
    client = KeyClient(emulator.url, ClientSecretCredential(TENANT, "client", "secret"), retry_total=0)
    assert client.create_ec_key(next(names)).key.crv == "P-256"


# contract: azure.credentials.secret
@pytest.mark.parametrize(
    "form,status,error,number",
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": None}, 401, "invalid_client", 7000215),
        ({"client_id": "other"}, 400, "unauthorized_client", 700016),
        ({"tenant": "other"}, 400, "invalid_request", 90002),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": "https://storage.azure.com/.default"}, 400, "invalid_resource", 500011),
        ({"scope": "https://vault.azure.net"}, 400, "invalid_resource", 500011),
        ({"scope": "https://vault.azure.net.example/.default"}, 400, "invalid_resource", 500011),
        ({"scope": None}, 400, "invalid_resource", 500011),
    ],
)
def test_a_token_is_refused_by_name(start, form, status, error, number):
    got, body = token(start("key-vault", *CLIENT), **form)
    assert (got, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ") and "\\" not in json.dumps(body["error_description"])


# contract: azure.credentials.token
def test_a_token_lets_in_only_where_and_while_it_is_good(start):
    vault, hsm = start("key-vault", *CLIENT), start("managed-hsm", *CLIENT)
    mine = token(vault)[1]["access_token"]
    other_tenant = token(start("key-vault", *CLIENT, "--tenant", "other"), tenant="other")[1]["access_token"]
    expired = token(start("key-vault", *CLIENT, "--token-seconds", "0"))[1]["access_token"]
    for_hsm = token(vault, scope="https://managedhsm.azure.net/.default")[1]["access_token"]
    header, payload, signature = mine.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["iss"] == f"https://sts.windows.net/{TENANT}/" and claims["aud"] == "https://vault.azure.net"
    forged = encode(json.dumps({**claims, "exp": claims["exp"] + 1}).encode())

    def status(emulator, given):
        got, headers, body = emulator.raw("GET", "/keys?api-version=7.6", token=given)
        if got == 401:
            assert 'error="invalid_token"' in headers["WWW-Authenticate"] and body["error"]["code"] == "Unauthorized"
            return body["error"]["message"].split(":")[0]
        return got

    assert status(vault, mine) == 200
    assert status(hsm, token(vault)[1]["access_token"]) == "AKV10022"
    assert status(hsm, for_hsm) == 200, "the seed is the same, and so is what signs"
    assert status(vault, for_hsm) == "AKV10022"
    assert status(vault, other_tenant) == "AKV10032"
    assert status(vault, expired) == "AKV10005"
    assert status(vault, f"{header}.{forged}.{signature}") == "AKV10046"
    assert status(vault, f"{header}.{payload}.{signature[:-4]}AAAA") == "AKV10046"
    assert status(vault, "anything") == "AKV10046"
    assert status(start("key-vault", *CLIENT, "--seed", "1"), mine) == "AKV10046"


def assertion(key, **change):
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": "api://AzureADTokenExchange", "iat": now, "nbf": now, "exp": now + 600}
    claims.update(change)
    signed = f"{encode(json.dumps({'alg': 'RS256', 'typ': 'JWT'}).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{signed}.{encode(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@pytest.fixture(scope="module")
def issuer():
    return rsa_key()


@pytest.fixture
def federated(start, issuer, tmp_path):
    pem = issuer.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "issuer.pem").write_bytes(pem)
    options = ["--federated-issuer", ISSUER, "--federated-subject", SUBJECT, "--federated-key", str(tmp_path / "issuer.pem")]
    return start("key-vault", *CLIENT, *options)


# contract: azure.credentials.workload
def test_an_assertion_of_a_trusted_issuer_gets_a_token(federated, issuer, tmp_path):
    (tmp_path / "token").write_text(assertion(issuer))
    credential = WorkloadIdentityCredential(
        tenant_id=TENANT,
        client_id="client",
        token_file_path=str(tmp_path / "token"),
        authority=f"https://localhost:{federated.port}",
        disable_instance_discovery=True,
        connection_verify=federated.ca,
    )
    assert federated.keys(credential).create_rsa_key(next(names)).key_type == "RSA"


# contract: azure.credentials.workload
@pytest.mark.parametrize(
    "change,number",
    [
        ({"iss": "https://issuer.example/other"}, 700211),
        ({"sub": "system:serviceaccount:keys:other"}, 700213),
        ({"aud": "api://other"}, 700212),
        ({"aud": ["api://AzureADTokenExchange", "other"]}, None),
        ({"exp": 1}, 700024),
        ({"nbf": 4102444800, "exp": 4102444801}, 700024),
    ],
)
def test_an_assertion_is_refused_by_name(federated, issuer, change, number):
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    form = {"client_secret": None, "client_assertion_type": kind, "client_assertion": assertion(issuer, **change)}
    status, body = token(federated, **form)
    assert (status, body.get("error_codes")) == ((200, None) if number is None else (401, [number]))


# contract: azure.credentials.workload
def test_an_assertion_signed_by_somebody_else_is_refused(federated, issuer, start):
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    form = {"client_secret": None, "client_assertion_type": kind}
    assert token(federated, **form, client_assertion=assertion(rsa_key()))[1]["error_codes"] == [700027]
    assert token(federated, **form, client_assertion="x.y.z")[1]["error_codes"] == [50027]
    assert token(federated, client_assertion=assertion(issuer))[1]["error_codes"] == [900144]
    assert token(start("key-vault", *CLIENT), **form, client_assertion=assertion(issuer))[1]["error_codes"] == [70025]


# contract: azure.credentials.managed
def test_a_managed_identity_gets_a_token_from_the_machine(start, monkeypatch):
    emulator = start("key-vault", *CLIENT, "--metadata-listen", "127.0.0.1:0")
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://{emulator.first['metadata']}")
    assert emulator.keys(ManagedIdentityCredential()).create_rsa_key(next(names)).key_type == "RSA"
    assert emulator.keys(ManagedIdentityCredential(client_id="client")).create_rsa_key(next(names)).key_type == "RSA"
    with pytest.raises(CredentialUnavailableError):
        emulator.keys(ManagedIdentityCredential(client_id="other")).get_key("a")
    path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
    status, _, body = emulator.raw("GET", path)
    assert (status, body["error"]) == (400, "invalid_request")
    status, _, body = emulator.raw("GET", path, headers={"Metadata": "true"})
    assert status == 200 and body["expires_on"].isdigit() and body["token_type"] == "Bearer"


# contract: azure.credentials.managed
def test_a_managed_identity_gets_a_token_from_an_app_service(start, monkeypatch):
    emulator = start("key-vault", *CLIENT, "--identity-header", "header", "--metadata-listen", "127.0.0.1:0")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://{emulator.first['metadata']}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    assert emulator.keys(ManagedIdentityCredential()).create_rsa_key(next(names)).key_type == "RSA"
    for headers in [{}, {"X-IDENTITY-HEADER": "wrong"}]:
        assert emulator.raw("GET", "/msi/token?resource=https://vault.azure.net", headers=headers)[0] == 401


# contract: azure.credentials.secret
def test_a_client_that_looks_its_authority_up_finds_it(start, monkeypatch):
    emulator = start("key-vault", *CLIENT)
    for name in ["login.microsoftonline.com", "localhost"]:
        monkeypatch.setitem(ports, name, emulator.port)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.ca)
    credential = ClientSecretCredential(TENANT, "client", "secret", authority="https://localhost")
    assert KeyClient(emulator.url, credential, retry_total=0).create_rsa_key(next(names)).key_type == "RSA"


# contract: azure.api_version
@pytest.mark.parametrize("version", ["7.4", "7.5", "7.6", "2025-07-01"])
def test_each_version_of_the_api_is_answered(vault, version):
    keys = vault.keys(api_version=version)
    made = keys.create_rsa_key(next(names))
    assert keys.get_key(made.name).id == made.id
    assert (made.properties.hsm_platform is None) == (version == "7.4")
    assert version in {known.value for known in ApiVersion}


# contract: azure.api_version, azure.errors
@pytest.mark.parametrize("query", ["", "api-version=", "api-version=7.3-preview", "api-version=2099-01-01", "version=7.6"])
def test_other_versions_of_the_api_are_refused(vault, query):
    status, _, body = vault.raw("GET", f"/keys?{query}")
    assert (status, body["error"]["code"]) == (400, "BadParameter")
