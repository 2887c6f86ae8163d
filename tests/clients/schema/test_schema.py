"""The published schema of the policy, judged by a validator that is not ours: what an editor would underline."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

POLICY = Path(__file__).parents[3] / "policy"
SCHEMA = json.loads((POLICY / "schema.json").read_text())


def documents(text):
    return [document for document in YAML(typ="safe").load_all(text) if document is not None]


def mistakes():
    """Each case of the two sections about what one document shows by itself."""
    sections = (POLICY / "tests/policy/mistakes.md").read_text().split("\n## ")[1:]
    for section in sections:
        title, _, body = section.partition("\n")
        if title in ("Documents", "Fields and values"):
            yield from (case.partition("```\n")[0] for case in body.split("```yaml\n")[1:])


def takes(text):
    try:
        found = documents(text)
    except YAMLError:
        return False
    return all(Draft202012Validator(SCHEMA).is_valid(document) for document in found)


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_it_takes_every_document_of_the_example_company():
    count = 0
    for file in sorted((POLICY / "examples").rglob("*.y*ml")):
        for document in documents(file.read_text()):
            count += 1
            errors = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)]
            assert errors == [], f"{file.name}: {document}"
    assert count > 20


@pytest.mark.parametrize("text", mistakes())
def test_it_refuses_the_mistakes_that_one_document_shows(text):
    # A pattern cannot express that a span of zero is refused.
    assert takes(text) == (" 0d" in text)
