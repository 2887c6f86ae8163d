#!/usr/bin/env bash
# moto 5.1.21 (Python), a stand-in for AWS in many tests, asked by boto3 1.44.8
#
# What most expect: a stand-in that keeps and tells a key's state refuses what KMS refuses in that state: `DisabledException` for a disabled
# key, `KMSInvalidStateException` for one that waits for its deletion, or for material from outside.
#
# What it does: it tells `Disabled` and `PendingDeletion`, and encrypts, makes data keys and decrypts with such keys all the same. A key of
# origin EXTERNAL is `Enabled` from the start and encrypts, with material that nobody imported. So a test of what an application does
# when its key is suspended, about to be deleted, or not yet there passes for the wrong reason.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check moto==5.1.21 boto3==1.44.8 botocore==1.44.8 cryptography==50.0.2

cat >"$folder/run.py" <<'PY'
import boto3
from botocore.exceptions import ClientError
from moto import mock_aws


def outcome(call):
    try:
        call()
        return "done"
    except ClientError as error:
        return error.response["Error"]["Code"]


with mock_aws():
    kms = boto3.client("kms", region_name="us-east-1", aws_access_key_id="example", aws_secret_access_key="example")
    keys = {name: kms.create_key()["KeyMetadata"]["KeyId"] for name in ["disabled", "being deleted"]}
    ciphertexts = {name: kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"] for name, key in keys.items()}
    kms.disable_key(KeyId=keys["disabled"])
    kms.schedule_key_deletion(KeyId=keys["being deleted"], PendingWindowInDays=7)
    keys["external, without material"] = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    for name, key in keys.items():
        state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
        used = {
            "encrypt": lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
            "generate_data_key": lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        }
        if name in ciphertexts:
            used["decrypt"] = lambda: kms.decrypt(CiphertextBlob=ciphertexts[name])
        told = ", ".join(f"{word} {outcome(call)}" for word, call in used.items())
        print(f"{name}: {state}, {told}")
PY
seen=$("$folder/venv/bin/python" "$folder/run.py")
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
disabled: Disabled, encrypt done, generate_data_key done, decrypt done
being deleted: PendingDeletion, encrypt done, generate_data_key done, decrypt done
external, without material: Enabled, encrypt done, generate_data_key done
SEEN
