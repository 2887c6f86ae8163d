"""Transfer blobs and key material, made by `cryptography`, which shares no code with the emulator."""

import base64
import itertools
import json
import os

from azure.core.exceptions import HttpResponseError
from azure.keyvault.keys import JsonWebKey
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1, "P-256K": ec.SECP256K1}
names = (f"key-{n}" for n in itertools.count())


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pkcs8(key):
    encoding, form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def rsa_key(size=2048):
    return rsa.generate_private_key(65537, size)


def ec_key(curve="P-256"):
    return ec.generate_private_key(CURVES[curve]())


def number(data):
    return int.from_bytes(data, "big")


def public(key):
    """The public half of what the vault returned."""
    return rsa.RSAPublicNumbers(number(key.key.e), number(key.key.n)).public_key()


def wrap(kek, material, digest=hashes.SHA1, mgf=None, label=None, kek_bytes=32, pad=b""):
    aes = os.urandom(kek_bytes)
    oaep = padding.OAEP(padding.MGF1((mgf or digest)()), digest(), label)
    return public(kek).encrypt(aes, oaep) + keywrap.aes_key_wrap_with_padding(aes, material + pad)


def blob(kek, material, change=None, ciphertext=None, **wrapping):
    ciphertext = wrap(kek, material, **wrapping) if ciphertext is None else ciphertext
    made = {
        "schema_version": "1.0.0",
        "header": {"kid": kek.id, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"},
        "ciphertext": encode(ciphertext),
        "generator": "test",
    }
    if change:
        change(made)
    return json.dumps(made).encode()


def new_kek(keys, size=2048, name=None):
    return keys.create_key(name or next(names), "RSA-HSM", size=size, key_operations=["import"])


def bring(keys, kek, material, kty="RSA-HSM", name=None, crv=None, ops=None, given=None, hsm=True, wrapping=None, **more):
    """Imports material in a transfer blob."""
    usual = {"EC-HSM": ["sign", "verify"], "oct-HSM": ["encrypt", "decrypt", "wrapKey", "unwrapKey"]}
    ops = ops or usual.get(kty, ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"])
    given = given or blob(kek, material, **(wrapping or {}))
    jwk = JsonWebKey(kty=kty, key_ops=ops, t=given, **({"crv": crv} if crv else {}))
    return keys.import_key(name or next(names), jwk, hardware_protected=hsm, **more)


class refused:
    """Expects an error of the service with this status, code and inner code."""

    def __init__(self, status, code=None, inner=None):
        self.expected = (status, code, inner)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        assert kind is not None, f"nothing was refused, where {self.expected} should have been"
        if not isinstance(error, HttpResponseError):
            return False
        status, code, inner = self.expected
        body = json.loads(error.response.text())["error"]
        assert error.status_code == status, body
        assert set(body) <= {"code", "message", "innererror"} and body["message"]
        if code:
            assert body["code"] == code, body
        assert body.get("innererror", {}).get("code") == inner, body
        self.message = body["message"]
        return True


BAD = (400, "BadParameter")
