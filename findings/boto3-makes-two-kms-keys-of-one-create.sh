#!/usr/bin/env bash
# boto3 1.44.8 (Python)
#
# What most expect: `CreateKey` has no idempotency token, so the client sends it once, or the header `amz-sdk-invocation-id`, which is
# the same for each try of one call, makes the service recognise the second try.
#
# What it does: after a lost reply the client sends the same request again by itself, as the second attempt of one invocation. KMS documents
# no use of that header, so an account ends up with two keys, and the caller learns of the second one alone. A create of an alias comes
# back as AlreadyExistsException, for an alias that this very call made. Whoever needs to know what happened turns retries off for
# mutations, and looks.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.44.8 botocore==1.44.8

cat >"$folder/run.py" <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

keys, aliases, tries = [], [], []


class Kms(BaseHTTPRequestHandler):
    """KMS as documented, which loses its reply to the first mutating request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        tries.append((self.headers["amz-sdk-invocation-id"], self.headers["amz-sdk-request"].split(";")[0]))
        code, body = 200, {}
        if self.headers["x-amz-target"].endswith("CreateKey"):
            keys.append(f"key-{len(keys) + 1}")
            body = {"KeyMetadata": {"KeyId": keys[-1]}}
        elif request["AliasName"] in aliases:
            code, body = 400, {"__type": "AlreadyExistsException", "message": "the alias exists"}
        else:
            aliases.append(request["AliasName"])
        if len(tries) == 1:
            self.close_connection = True
            return
        raw = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


server = ThreadingHTTPServer(("127.0.0.1", 0), Kms)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = boto3.client(
    "kms",
    endpoint_url=f"http://127.0.0.1:{server.server_port}",
    region_name="us-east-1",
    aws_access_key_id="example",
    aws_secret_access_key="example",
    config=Config(proxies={}),
)
CALLS = {
    "create_key": lambda: client.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"],
    "create_alias": lambda: client.create_alias(AliasName="alias/orders", TargetKeyId="key-1"),
}
for name, call in CALLS.items():
    tries.clear()
    try:
        outcome = f"returned {call()}"
    except ClientError as error:
        outcome = error.response["Error"]["Code"]
    invocations = len({invocation for invocation, _ in tries})
    print(f"{name}: {', '.join(attempt for _, attempt in tries)} of {invocations} invocation, {outcome}")
print(f"made: {keys}, {aliases}")
PY
seen=$("$folder/venv/bin/python" "$folder/run.py")
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
create_key: attempt=1, attempt=2 of 1 invocation, returned key-2
create_alias: attempt=1, attempt=2 of 1 invocation, AlreadyExistsException
made: ['key-1', 'key-2'], ['alias/orders']
SEEN
