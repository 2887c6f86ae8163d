"""Wraps key material as Cloud KMS wants it, by an independent implementation."""

import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()


def public_key(job):
    return serialization.load_pem_public_key(job.public_key.pem.encode())


def oaep(public, data, digest=SHA256, mgf=None, label=None):
    return public.encrypt(data, padding.OAEP(mgf=padding.MGF1(mgf or digest), algorithm=digest, label=label))


def digest_of(job):
    return SHA1 if "SHA1" in job.import_method.name else SHA256


def wrap(job, material, public=None, kek=None, **how):
    """What the job's method asks for, unless told to differ."""
    public, how = public or public_key(job), {"digest": digest_of(job), **how}
    if not job.import_method.name.endswith("_AES_256"):
        return oaep(public, material, **how)
    kek = kek or os.urandom(32)
    return oaep(public, kek, **how) + aes_key_wrap_with_padding(kek, material)


def pkcs8(private):
    return private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def spki(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
