"""Starts emulated projects and gives tests Google's clients for them."""

import itertools
import json
import os
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from gcp_names import LOCATION
from google.auth.credentials import AnonymousCredentials
from google.cloud import kms

os.environ["NO_PROXY"] = "*"
# Names in Cloud KMS are for ever, so every test takes new ones.
numbers = itertools.count(1)


class Emulator:
    """One emulated project, and the control interface beside it."""

    def __init__(self, *options):
        command = [os.environ["KEYPLANE_EMULATOR"], "gcp", "--exit-with-stdin", *options]
        # The emulator ends when its standard input does: with this process at the latest.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = json.loads(self.process.stdout.readline())["listening"]
        self.url = f"http://{self.address}"
        self._client = None

    def client(self, credentials=None):
        return kms.KeyManagementServiceClient(
            transport="rest",
            credentials=credentials or AnonymousCredentials(),
            client_options={"api_endpoint": self.url},
        )

    @property
    def kms(self):
        self._client = self._client or self.client()
        return self._client

    def request(self, method, path, body=None, headers=None):
        """Status and JSON, without a client in between."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def control(self, method, path, body=None):
        status, answer = self.request(method, f"/_emulator/{path}", body)
        assert status == 200, answer
        return answer

    def advance(self, **duration):
        units = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
        seconds = sum(units[unit] * count for unit, count in duration.items())
        return self.control("POST", "clock", {"advance_seconds": seconds})

    def fault(self, effect, **rule):
        return self.control("POST", "faults", {**rule, "effect": effect})

    def read(self, **readings):
        """Replaces the readings; what is pending is so for no time unless told otherwise."""
        at_once = {"job_millis": 0, "import_millis": 0, "generation_millis": 0}
        return self.control("POST", "readings", {**at_once, **readings})

    def roots(self):
        with urllib.request.urlopen(f"{self.url}/_emulator/attestation-root", timeout=60) as response:
            return response.read()

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)

    # What most tests begin with.

    def ring(self):
        name = f"r{next(numbers)}"
        return self.kms.create_key_ring(parent=LOCATION, key_ring_id=name, key_ring={}).name

    def key(self, ring, purpose="ENCRYPT_DECRYPT", algorithm="GOOGLE_SYMMETRIC_ENCRYPTION", level="SOFTWARE", **more):
        """A key with a generated version."""
        crypto_key = {"purpose": purpose, "version_template": {"algorithm": algorithm, "protection_level": level}, **more}
        request = {"parent": ring, "crypto_key_id": f"k{next(numbers)}", "crypto_key": crypto_key}
        return self.kms.create_crypto_key(request=request).name

    def shell(self, ring, purpose="ENCRYPT_DECRYPT", algorithm="GOOGLE_SYMMETRIC_ENCRYPTION", level="SOFTWARE", **more):
        """A key for imports alone, without a version."""
        template = {"algorithm": algorithm, "protection_level": level}
        crypto_key = {"purpose": purpose, "import_only": True, "version_template": template, **more}
        request = {
            "parent": ring,
            "crypto_key_id": f"k{next(numbers)}",
            "crypto_key": crypto_key,
            "skip_initial_version_creation": True,
        }
        return self.kms.create_crypto_key(request=request).name

    def job(self, ring, method="RSA_OAEP_3072_SHA256_AES_256", level="SOFTWARE"):
        import_job = {"import_method": method, "protection_level": level}
        job = self.kms.create_import_job(parent=ring, import_job_id=f"j{next(numbers)}", import_job=import_job)
        return self.until(lambda: self.kms.get_import_job(name=job.name), lambda job: job.state.name == "ACTIVE")

    def bring(self, key, job, wrapped, algorithm="GOOGLE_SYMMETRIC_ENCRYPTION", **more):
        """Imports wrapped bytes and waits for what becomes of them."""
        request = {"parent": key, "algorithm": algorithm, "import_job": job.name, "wrapped_key": wrapped, **more}
        version = self.kms.import_crypto_key_version(request=request)
        return self.settled(version.name)

    def settled(self, name):
        pending = ("PENDING_IMPORT", "PENDING_GENERATION")
        return self.until(lambda: self.version(name), lambda version: version.state.name not in pending)

    def version(self, name):
        return self.kms.get_crypto_key_version(name=name)

    def until(self, look, is_done):
        """Looks until it is done: pending takes a while of real time."""
        for _ in range(200):
            seen = look()
            if is_done(seen):
                return seen
            time.sleep(0.05)
        raise AssertionError(f"still not done: {seen}")


@pytest.fixture(scope="session")
def emulator():
    """Shared by the tests that need neither clock nor faults nor quotas nor readings."""
    emulator = Emulator("--no-quotas", "--pending-millis", "0")
    yield emulator
    emulator.stop()


@pytest.fixture
def start():
    """Starts an emulator of the test's own."""
    started = []

    def start(*options):
        started.append(Emulator(*options))
        return started[-1]

    yield start
    for emulator in started:
        emulator.stop()


@pytest.fixture
def ring(emulator):
    return emulator.ring()
