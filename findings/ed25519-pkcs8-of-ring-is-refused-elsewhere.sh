#!/usr/bin/env bash
# ring 0.17.14 (Rust) writes; cryptography 50.0.2 (Python) and Debian's openssl 3.0 read
#
# What most expect: an Ed25519 private key in PKCS#8 is read by everybody who knows the algorithm.
#
# What happens: ring writes the second version of the structure (RFC 5958, OneAsymmetricKey with the public key inside), which RFC 8410
# names too, and the others read the first version alone: both refuse the key, and neither message says that it is about the version.
# The same seed as a first-version structure is read by both. Whoever hands such a key to a cloud or a token writes the first version.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cryptography==50.0.2
mkdir -p writer/src
cat >writer/Cargo.toml <<'TOML'
[package]
name = "writer"
version = "0.1.0"
edition = "2021"
[dependencies]
ring = "=0.17.14"
TOML
cat >writer/src/main.rs <<'RS'
fn main() {
    let key = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    std::fs::write(std::env::args().nth(1).unwrap(), key.as_ref()).unwrap();
}
RS
CARGO_TARGET_DIR=$folder/target cargo run --quiet --manifest-path writer/Cargo.toml -- second.der
cat >read.py <<'PY'
import pathlib
import subprocess

from cryptography.hazmat.primitives.serialization import load_der_private_key

second = pathlib.Path("second.der").read_bytes()
# version, algorithm, OCTET STRING of an OCTET STRING of the 32 bytes of the seed
seed = second[second.index(bytes.fromhex("04220420")) + 4 :][:32]
first = bytes.fromhex("302e020100300506032b657004220420") + seed
pathlib.Path("first.der").write_bytes(first)
print("version number of the structure that ring writes:", second[4])
for name, der in (("first.der", first), ("second.der", second)):
    try:
        load_der_private_key(der, None)
        python = "read"
    except ValueError:
        python = "refused"
    openssl = subprocess.run(["openssl", "pkey", "-inform", "DER", "-in", name, "-noout"], capture_output=True)
    print(f"{name}: cryptography {python}, openssl {'read' if openssl.returncode == 0 else 'refused'}")
PY
seen=$(venv/bin/python read.py)
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
version number of the structure that ring writes: 1
first.der: cryptography read, openssl read
second.der: cryptography refused, openssl refused
SEEN
