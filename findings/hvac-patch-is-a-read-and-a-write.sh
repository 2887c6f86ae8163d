#!/usr/bin/env bash
# hvac 2.4.0 (Python)
#
# What most expect: `secrets.kv.v2.patch` sends the API's own PATCH with a merge patch, which needs the capability `patch`, shows the
# caller no value, and removes a field that is set to null.
#
# What it does: it reads the whole secret and writes the whole secret back, with the version that it read as `cas`. So a token that may
# only patch is refused at the read, a token must be able to read what it changes, a null is written as a value in place of removing
# the field, and of two patches of different fields at the same time one fails.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hvac==2.4.0 requests==2.34.2

cat >"$folder/run.py" <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import hvac

requests_seen = []


class Secrets(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        requests_seen.append(f"{self.command} {self.path} {json.dumps(body)}")
        data = {"version": 8}
        if self.command == "GET":
            data = {"data": {"user": "app", "password": "old"}, "metadata": {"version": 7}}
        raw = json.dumps({"request_id": "1", "lease_id": "", "lease_duration": 0, "renewable": False, "data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = do_PATCH = answer


server = ThreadingHTTPServer(("127.0.0.1", 0), Secrets)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = hvac.Client(url=f"http://127.0.0.1:{server.server_port}", token="token")
client.secrets.kv.v2.patch(path="app", secret={"password": "new", "user": None}, mount_point="secret")
print("\n".join(requests_seen))
PY
seen=$("$folder/venv/bin/python" -W ignore "$folder/run.py")
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
GET /v1/secret/data/app null
POST /v1/secret/data/app {"options": {"cas": 7}, "data": {"user": null, "password": "new"}}
SEEN
