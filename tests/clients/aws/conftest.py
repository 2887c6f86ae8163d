"""Starts emulators and gives tests boto3 clients for them."""

import json
import os
import subprocess
import urllib.request

import boto3
import pytest
from botocore.config import Config


class Emulator:
    """One emulated account, and the control interface beside it."""

    def __init__(self, *options):
        command = [os.environ["KEYPLANE_EMULATOR"], "aws", "--exit-with-stdin", *options]
        # The emulator ends when its standard input does: with this process at the latest.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = json.loads(self.process.stdout.readline())["listening"]
        self.url = f"http://{self.address}"

    def client(self, key="test", secret="test", region="us-east-1", **config):
        config = {"retries": {"max_attempts": 1, "mode": "standard"}, "read_timeout": 20, **config}
        return boto3.client(
            "kms",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(**config),
        )

    def control(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_emulator/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def advance(self, **duration):
        units = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
        seconds = sum(units[unit] * count for unit, count in duration.items())
        return self.control("POST", "clock", {"advance_seconds": seconds})

    def fault(self, effect, **rule):
        return self.control("POST", "faults", {**rule, "effect": effect})

    def now(self):
        return self.control("GET", "state")["now"] / 1e6

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)


@pytest.fixture(scope="session")
def emulator():
    """Shared by the tests that need neither clock nor faults nor quotas."""
    emulator = Emulator("--no-quotas")
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
def kms(emulator):
    return emulator.client()
