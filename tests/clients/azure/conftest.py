"""Starts emulated vaults and gives tests the SDK's clients for them.

The SDK has to believe that it speaks to Azure: its challenge verification stays on, addresses have no port, and a name
under `vault.azure.net` or `managedhsm.azure.net` is resolved to the emulator, port included, by a patched resolver.
"""

import itertools
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request

import pytest
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient

os.environ["NO_PROXY"] = "*"
# What the emulator has unless told otherwise.
TENANT = "11111111-2222-3333-4444-555555555555"
DOMAINS = {"key-vault": "vault.azure.net", "managed-hsm": "managedhsm.azure.net"}
# The SDK keeps what it learnt of a vault by its name, for the whole process: each emulator has its own.
numbers = itertools.count(1)
ports = {}
resolve = socket.getaddrinfo


def getaddrinfo(host, port, *args, **kwargs):
    if host in ports:
        host, port = "127.0.0.1", ports[host]
    return resolve(host, port, *args, **kwargs)


socket.getaddrinfo = getaddrinfo


class Emulator:
    """One emulated vault, and the control interface beside it."""

    def __init__(self, kind="key-vault", *options):
        self.host = f"vault-{next(numbers)}.{DOMAINS[kind]}"
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.ca = str(self.folder / "ca.pem")
        command = [os.environ["KEYPLANE_EMULATOR"], "azure", "--exit-with-stdin", "--kind", kind]
        command += ["--host", self.host, "--ca-out", self.ca, *options]
        # The emulator ends when its standard input does: with this process at the latest.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = json.loads(self.process.stdout.readline())
        self.port = int(self.first["listening"].rpartition(":")[2])
        ports[self.host] = self.port
        self.url = f"https://{self.host}"

    def credential(self, client="client", secret="secret", tenant=TENANT):
        authority = f"https://localhost:{self.port}"
        return ClientSecretCredential(
            tenant, client, secret, authority=authority, disable_instance_discovery=True, connection_verify=self.ca
        )

    def keys(self, credential=None, url=None, **more):
        """A client that tries once."""
        more = {"retry_total": 0, "connection_verify": self.ca, "read_timeout": 20, **more}
        return KeyClient(url or self.url, credential or self.credential(), **more)

    def crypto(self, key, **more):
        """A client that uses a key in the vault, and never on this machine."""
        return CryptographyClient(key if isinstance(key, str) else key.id, self.credential(), **remote(self, more))

    def context(self):
        return ssl.create_default_context(cafile=self.ca)

    def raw(self, method, path, body=None, token="any", headers=None):
        """One request without the SDK: status, headers, and body as JSON."""
        status, headers, text = self.send(method, path, body, token, headers)
        return status, headers, json.loads(text) if text else None

    def text(self, path):
        return self.send("GET", path)[2].decode()

    def send(self, method, path, body=None, token=None, headers=None):
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=self.context()), urllib.request.ProxyHandler({})
        )
        try:
            response = opener.open(request, timeout=20)
        except urllib.error.HTTPError as error:
            response = error
        return response.status, response.headers, response.read()

    def control(self, method, path, body=None):
        return self.raw(method, f"/_emulator/{path}", body)[2]

    def advance(self, **duration):
        units = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
        seconds = sum(units[unit] * count for unit, count in duration.items())
        return self.control("POST", "clock", {"advance_seconds": seconds})

    def fault(self, effect, **rule):
        return self.control("POST", "faults", {**rule, "effect": effect})

    def read_as(self, **readings):
        return self.control("POST", "readings", readings)

    def now(self):
        return self.control("GET", "state")["now"] / 1e6

    def requests(self, operation):
        return [entry for entry in self.control("GET", "requests") if entry["operation"] == operation]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)
        shutil.rmtree(self.folder)


def remote(emulator, more):
    return {"retry_total": 0, "connection_verify": emulator.ca, "read_timeout": 20, **more}


def shared(kind, *options):
    emulator = Emulator(kind, "--no-quotas", *options)
    yield emulator
    emulator.stop()


@pytest.fixture(scope="session")
def vault():
    """A Premium vault, shared by the tests that need neither clock nor faults nor quotas."""
    yield from shared("key-vault", "--premium")


@pytest.fixture(scope="session")
def standard():
    """A Standard vault, likewise."""
    yield from shared("key-vault")


@pytest.fixture(scope="session")
def hsm():
    """A Managed HSM, likewise."""
    yield from shared("managed-hsm")


@pytest.fixture
def start():
    """Starts an emulator of the test's own."""
    started = []

    def start(kind="key-vault", *options):
        started.append(Emulator(kind, *options))
        return started[-1]

    yield start
    for emulator in started:
        emulator.stop()
