#!/usr/bin/env bash
# google-cloud-kms 3.18.0 (Python)
#
# What most expect: the API carries CRC-32C checksums of each plaintext and ciphertext in both directions, so the official client
# computes and compares them, as Google's storage clients do with theirs.
#
# What it does: nothing. It sends no checksum by itself, and hands out a ciphertext or plaintext whose checksum in the same answer
# belongs to other bytes, and `verified_plaintext_crc32c = False` beside it. A ciphertext that was damaged on its way is then stored, and its
# damage is found when somebody has to decrypt it. Whoever uses this client compares by hand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-cloud-kms==3.18.0 google-api-core==2.44.0

cat >"$folder/run.py" <<'PY'
import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.auth.credentials import AnonymousCredentials
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport

KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
sent = []


class OtherBytes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        sent.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        word = "ciphertext" if self.path.split("?")[0].endswith(":encrypt") else "plaintext"
        body = {word: base64.b64encode(b"other bytes").decode(), f"{word}Crc32c": "1"}
        if word == "ciphertext":
            body |= {"name": KEY + "/cryptoKeyVersions/1", "verifiedPlaintextCrc32c": False}
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


server = ThreadingHTTPServer(("127.0.0.1", 0), OtherBytes)
threading.Thread(target=server.serve_forever, daemon=True).start()
transport = KeyManagementServiceRestTransport(
    host=f"127.0.0.1:{server.server_port}", url_scheme="http", credentials=AnonymousCredentials()
)
client = kms_v1.KeyManagementServiceClient(transport=transport)
encrypted = client.encrypt(name=KEY, plaintext=b"secret")
print("encrypt sent a checksum:", "plaintextCrc32c" in sent[-1])
print("encrypt returned:", encrypted.ciphertext, encrypted.ciphertext_crc32c, encrypted.verified_plaintext_crc32c)
decrypted = client.decrypt(name=KEY, ciphertext=b"anything")
print("decrypt sent a checksum:", "ciphertextCrc32c" in sent[-1])
print("decrypt returned:", decrypted.plaintext, decrypted.plaintext_crc32c)
PY
seen=$("$folder/venv/bin/python" "$folder/run.py" 2>/dev/null)
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
encrypt sent a checksum: False
encrypt returned: b'other bytes' 1 False
decrypt sent a checksum: False
decrypt returned: b'other bytes' 1
SEEN
