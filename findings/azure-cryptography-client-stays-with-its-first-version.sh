#!/usr/bin/env bash
# azure-keyvault-keys 4.11.3 (Python), azure-core 1.41.0
#
# What most expect: a `CryptographyClient` made for a key id without a version uses the key's current version, so that a rotation
# reaches every application at its next call, or at the latest when some cache times out.
#
# What it does: the first call reads the key, and the client stays with that version as long as it lives. RSA encryption is then done
# in the process, without any request: nothing asks the vault again, ever. After a rotation a service that keeps its client goes on
# encrypting under the old version until it is restarted. So the version before a rotation has to go on decrypting for as long
# as any process may live, and the vault's own logs do not show who still uses it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    azure-keyvault-keys==4.11.3 azure-core==1.41.0 requests==2.34.2 cryptography==50.0.2

cat >"$folder/run.py" <<'PY'
import io
import json
import time
from base64 import urlsafe_b64encode

import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

NAME = "https://example.vault.azure.net/keys/orders"
current = 1
requests_seen = []


def modulus():
    number = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers().n
    return urlsafe_b64encode(number.to_bytes(256, "big")).rstrip(b"=").decode()


MODULI = {1: modulus(), 2: modulus()}


class Vault(requests.adapters.BaseAdapter):
    """Answers in place of the network, as the vault does: a challenge, then the current version."""

    def send(self, request, **_):
        answer = requests.Response()
        answer.request, answer.url = request, request.url
        if "Authorization" not in request.headers:
            answer.status_code, body = 401, {}
            answer.headers["WWW-Authenticate"] = (
                'Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"'
            )
        else:
            requests_seen.append(request.method)
            key = {"kid": f"{NAME}/{current}", "kty": "RSA", "n": MODULI[current], "e": "AQAB", "key_ops": ["encrypt"]}
            answer.status_code, body = 200, {"key": key, "attributes": {"enabled": True}}
        answer.headers["Content-Type"] = "application/json"
        answer.raw = io.BytesIO(json.dumps(body).encode())
        return answer

    def close(self):
        pass


class Credential:
    def get_token(self, *_, **__):
        return AccessToken("token", int(time.time()) + 3600)


session = requests.Session()
session.mount("https://", Vault())


def client():
    return CryptographyClient(NAME, Credential(), transport=RequestsTransport(session=session, session_owner=False))


def encrypt(what, using):
    requests_seen.clear()
    result = using.encrypt(EncryptionAlgorithm.rsa_oaep_256, b"x")
    print(f"{what}: version {result.key_id.rsplit('/', 1)[1]}, {len(requests_seen)} requests")


kept = client()
encrypt("before the rotation", kept)
current = 2
for _ in range(2):
    encrypt("after it, the same client", kept)
encrypt("after it, a new client", client())
PY
seen=$("$folder/venv/bin/python" "$folder/run.py")
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
before the rotation: version 1, 1 requests
after it, the same client: version 1, 0 requests
after it, the same client: version 1, 0 requests
after it, a new client: version 2, 1 requests
SEEN
