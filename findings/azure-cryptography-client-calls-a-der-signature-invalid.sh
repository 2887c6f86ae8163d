#!/usr/bin/env bash
# azure-keyvault-keys 4.11.3 (Python) verifies; cryptography 50.0.2 signs
#
# What most expect: an ECDSA signature is an ASN.1 structure (X9.62), as AWS KMS, Google Cloud KMS, OpenSSL and X.509 have it, and a client
# that gets something else says so.
#
# What it does: it takes the two numbers joined without any structure (IEEE P1363, as in JWS). A DER signature is cut in the middle, and the
# answer is a plain "not valid", as for a forged one: nothing says that the format is another one. A service that verifies the signatures of
# several clouds converts them first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check azure-keyvault-keys==4.11.3 azure-core==1.41.0 cryptography==50.0.2

cat >"$folder/run.py" <<'PY'
import hashlib

from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

CURVES = {
    "P-256": (ec.SECP256R1(), hashes.SHA256(), SignatureAlgorithm.es256),
    "P-521": (ec.SECP521R1(), hashes.SHA512(), SignatureAlgorithm.es512),
}
for curve, (which, algorithm, name) in CURVES.items():
    digest = hashlib.new(algorithm.name, b"message").digest()
    key = ec.generate_private_key(which)
    size = (which.key_size + 7) // 8
    numbers = key.public_key().public_numbers()
    public = {
        "kid": f"https://example.vault.azure.net/keys/orders/{curve.lower()}",
        "kty": "EC",
        "crv": curve,
        "x": numbers.x.to_bytes(size, "big"),
        "y": numbers.y.to_bytes(size, "big"),
        "key_ops": ["verify"],
    }
    client = CryptographyClient.from_jwk(public)
    der = key.sign(digest, ec.ECDSA(Prehashed(algorithm)))
    joined = b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(der))
    for form, signature in [("DER", der), ("joined", joined)]:
        print(f"{curve}, {form}: valid {client.verify(name, digest, signature).is_valid}")
PY
seen=$("$folder/venv/bin/python" "$folder/run.py")
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
P-256, DER: valid False
P-256, joined: valid True
P-521, DER: valid False
P-521, joined: valid True
SEEN
