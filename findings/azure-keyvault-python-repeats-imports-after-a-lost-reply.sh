#!/usr/bin/env bash
# azure-keyvault-keys 4.11.3 (Python), azure-core 1.41.0
#
# What most expect: the client sends an import once, since Key Vault makes another version of the key for each import, and a version
# cannot be deleted. Or it repeats creates and imports alike.
#
# What it does: what it repeats follows from the HTTP method. An import is a PUT, and is sent again by itself after a lost reply and after
# a 503. A create is a POST, and is sent again after a 503 alone; a lost reply reaches the caller. So one call of `import_key` whose first
# request had its effect leaves two versions, the caller learns of the second one alone, and no error tells.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check azure-keyvault-keys==4.11.3 azure-core==1.41.0 requests==2.34.2

cat >"$folder/run.py" <<'PY'
import io
import json
import time

import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.keyvault.keys import JsonWebKey, KeyClient

VAULT = "https://example.vault.azure.net"
versions = []


class Vault(requests.adapters.BaseAdapter):
    """Answers in place of the network. The first mutating request has its effect, and its reply is a 503 or never comes."""

    def __init__(self, mishap):
        super().__init__()
        self.mishap = mishap

    def send(self, request, **_):
        answer = requests.Response()
        answer.request, answer.url = request, request.url
        answer.headers["Content-Type"] = "application/json"
        body = {}
        if "Authorization" not in request.headers:
            answer.status_code = 401
            answer.headers["WWW-Authenticate"] = (
                'Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"'
            )
        else:
            versions.append(f"{VAULT}/keys/orders/{len(versions) + 1}")
            if len(versions) == 1 and self.mishap == "lost reply":
                raise requests.exceptions.ReadTimeout("no reply came")
            answer.status_code = 503 if len(versions) == 1 else 200
            body = {"key": {"kid": versions[-1], "kty": "RSA", "n": "AQAB", "e": "AQAB"}, "attributes": {"enabled": True}}
        answer.raw = io.BytesIO(json.dumps(body).encode())
        return answer

    def close(self):
        pass


class Credential:
    def get_token(self, *_, **__):
        return AccessToken("token", int(time.time()) + 3600)


CALLS = {
    "create_rsa_key": lambda client: client.create_rsa_key("orders"),
    "import_key": lambda client: client.import_key("orders", JsonWebKey(kty="RSA-HSM", t=b"a transfer blob"), hardware_protected=True),
}
for mishap in ["lost reply", "503"]:
    for name, call in CALLS.items():
        versions.clear()
        session = requests.Session()
        session.mount("https://", Vault(mishap))
        client = KeyClient(
            VAULT, Credential(), transport=RequestsTransport(session=session, session_owner=False), retry_backoff_factor=0
        )
        try:
            outcome = "returned version " + call(client).properties.version
        except Exception as error:
            outcome = type(error).__name__
        print(f"{mishap}, {name}: {len(versions)} versions made, {outcome}")
PY
seen=$("$folder/venv/bin/python" "$folder/run.py")
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
lost reply, create_rsa_key: 1 versions made, ServiceResponseTimeoutError
lost reply, import_key: 2 versions made, returned version 2
503, create_rsa_key: 2 versions made, returned version 2
503, import_key: 2 versions made, returned version 2
SEEN
