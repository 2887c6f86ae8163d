#!/usr/bin/env bash
# google-cloud-kms 3.18.0 (Python) with google-api-core 2.44.0
#
# What most expect: a client library repeats reads that failed for the moment, and leaves every mutation to its caller, since a 503 does
# not say whether the mutation had its effect. Or it repeats all of them alike.
#
# What it does: creating a key, creating an import job, moving the primary version, destroying and restoring a version are sent
# again by themselves after a 503. Creating a version and importing one are not: there the 503 reaches the caller. So a lost reply to
# `create_crypto_key` comes back as AlreadyExists for a key that this very call made, while a lost reply to an import has to be
# looked up by the caller.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-cloud-kms==3.18.0 google-api-core==2.44.0

cat >"$folder/run.py" <<'PY'
import collections
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.auth.credentials import AnonymousCredentials
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport

RING = "projects/p/locations/l/keyRings/r"
KEY = RING + "/cryptoKeys/k"
VERSION = KEY + "/cryptoKeyVersions/1"
received = collections.Counter()


class UnavailableOnce(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        received[self.path] += 1
        if received[self.path] == 1:
            code, body = 503, {"error": {"code": 503, "status": "UNAVAILABLE", "message": "try later"}}
        else:
            code, body = 200, {"name": KEY}
        raw = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


server = ThreadingHTTPServer(("127.0.0.1", 0), UnavailableOnce)
threading.Thread(target=server.serve_forever, daemon=True).start()
transport = KeyManagementServiceRestTransport(
    host=f"127.0.0.1:{server.server_port}", url_scheme="http", credentials=AnonymousCredentials()
)
client = kms_v1.KeyManagementServiceClient(transport=transport)
calls = {
    "create_crypto_key": lambda: client.create_crypto_key(
        parent=RING, crypto_key_id="k", crypto_key={"purpose": "ENCRYPT_DECRYPT"}
    ),
    "create_import_job": lambda: client.create_import_job(parent=RING, import_job_id="j", import_job={}),
    "update_crypto_key_primary_version": lambda: client.update_crypto_key_primary_version(
        name=KEY, crypto_key_version_id="1"
    ),
    "destroy_crypto_key_version": lambda: client.destroy_crypto_key_version(name=VERSION),
    "restore_crypto_key_version": lambda: client.restore_crypto_key_version(name=VERSION),
    "create_crypto_key_version": lambda: client.create_crypto_key_version(parent=KEY, crypto_key_version={}),
    "import_crypto_key_version": lambda: client.import_crypto_key_version(
        request={
            "parent": KEY,
            "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
            "import_job": RING + "/importJobs/j",
            "wrapped_key": b"x",
        }
    ),
}
for name, call in calls.items():
    before = sum(received.values())
    try:
        call()
        outcome = "returned"
    except Exception as error:
        outcome = type(error).__name__
    print(f"{name}: {sum(received.values()) - before} requests, {outcome}")
PY
seen=$("$folder/venv/bin/python" "$folder/run.py" 2>/dev/null)
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
create_crypto_key: 2 requests, returned
create_import_job: 2 requests, returned
update_crypto_key_primary_version: 2 requests, returned
destroy_crypto_key_version: 2 requests, returned
restore_crypto_key_version: 2 requests, returned
create_crypto_key_version: 1 requests, ServiceUnavailable
import_crypto_key_version: 1 requests, ServiceUnavailable
SEEN
