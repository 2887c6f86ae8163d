#!/usr/bin/env bash
# serde_json_canonicalizer 0.3.2 and serde_jcs 0.1.0 (Rust), rfc8785 0.1.4 and jcs 0.2.1 (Python)
#
# What most expect: JSON has one canonical form (RFC 8785), so libraries that carry its name give the same bytes for the same document, and a
# digest that one service makes is found again by another one, in another language.
#
# What they do: an integer of 2^53 and more is none that RFC 8785 writes. One library refuses it; two write the nearest 64-bit floating-point
# number, so that 9007199254740993 is written like the integer before it; one writes it as it is. That last one, `serde_jcs`, also sorts
# members by UTF-8 in place of UTF-16, and so differs from the others for names outside the basic plane. Whoever compares digests across
# libraries keeps integers below 2^53, or writes them as strings, and names in ASCII.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check rfc8785==0.1.4 jcs==0.2.1
mkdir -p writer/src
cat >writer/Cargo.toml <<'TOML'
[package]
name = "writer"
version = "0.1.0"
edition = "2021"
[dependencies]
serde_json = "=1.0.154"
serde_jcs = "=0.1.0"
serde_json_canonicalizer = "=0.3.2"
TOML
cat >writer/src/main.rs <<'RS'
fn main() {
    for text in std::env::args().skip(1) {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        println!("serde_json_canonicalizer: {}", serde_json_canonicalizer::to_string(&value).unwrap());
        println!("serde_jcs: {}", serde_jcs::to_string(&value).unwrap());
    }
}
RS
cat >write.py <<'PY'
import json
import sys

import jcs
import rfc8785

for text in sys.argv[1:]:
    value = json.loads(text)
    for name, write in [("rfc8785", rfc8785.dumps), ("jcs", jcs.canonicalize)]:
        try:
            print(f"{name}: {write(value).decode()}")
        except Exception as error:
            print(f"{name}: {type(error).__name__}")
PY
CARGO_TARGET_DIR=$folder/target cargo build --quiet --manifest-path writer/Cargo.toml
# Two integers in a row, then two names of which the first is smaller in UTF-8 and larger in UTF-16.
seen=$(for text in '{"at":9007199254740992}' '{"at":9007199254740993}' '{"\ufb33":1,"\ud800\udc00":2}'; do
    echo "$text"
    target/debug/writer "$text"
    venv/bin/python write.py "$text"
done | sed "s/$(printf '\xef\xac\xb3')/U+FB33/; s/$(printf '\xf0\x90\x80\x80')/U+10000/")
echo "$seen"
diff - <(echo "$seen") <<'SEEN'
{"at":9007199254740992}
serde_json_canonicalizer: {"at":9007199254740992}
serde_jcs: {"at":9007199254740992}
rfc8785: IntegerDomainError
jcs: {"at":9007199254740992}
{"at":9007199254740993}
serde_json_canonicalizer: {"at":9007199254740992}
serde_jcs: {"at":9007199254740993}
rfc8785: IntegerDomainError
jcs: {"at":9007199254740992}
{"\ufb33":1,"\ud800\udc00":2}
serde_json_canonicalizer: {"U+10000":2,"U+FB33":1}
serde_jcs: {"U+FB33":1,"U+10000":2}
rfc8785: {"U+10000":2,"U+FB33":1}
jcs: {"U+10000":2,"U+FB33":1}
SEEN
