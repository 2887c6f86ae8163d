"""Grants of AWS KMS as boto3, unchanged, sees the emulator."""

import datetime
import itertools
import os

import pytest
from test_kms import external, loaded, refused

ROLE = "arn:aws:iam::111122223333:role/"
READER, WRITER, KEEPER = (ROLE + name for name in ("reader", "writer", "keeper"))
serial = itertools.count()


@pytest.fixture
def key(kms):
    return loaded(kms)


def grant(kms, key, **more):
    grantee = {} if "GranteeServicePrincipal" in more else {"GranteePrincipal": READER}
    return kms.create_grant(**{"KeyId": key, "Operations": ["Decrypt"], **grantee, **more})


def grants(kms, key, **more):
    return kms.list_grants(KeyId=key, **more)["Grants"]


def ids(listed):
    return {entry["GrantId"] for entry in listed}


# --- Making --------------------------------------------------------------------------------------------------------


def test_a_grant_is_listed_as_it_was_made(kms, key):
    constraints = {"EncryptionContextSubset": {"tenant": "a", "stage": "prod"}, "EncryptionContextEquals": {"Tenant": "A"}}
    made = grant(kms, key, RetiringPrincipal=KEEPER, Operations=["Encrypt", "Decrypt", "RetireGrant"], Name="nightly/job-1",
                 Constraints=constraints)
    [listed] = grants(kms, key)
    assert isinstance(listed.pop("CreationDate"), datetime.datetime)
    assert sorted(listed.pop("Operations")) == ["Decrypt", "Encrypt", "RetireGrant"]
    assert listed == {
        "KeyId": f"arn:aws:kms:us-east-1:111122223333:key/{key}", "GrantId": made["GrantId"], "Name": "nightly/job-1",
        "GranteePrincipal": READER, "RetiringPrincipal": KEEPER, "IssuingAccount": "arn:aws:iam::111122223333:root",
        "Constraints": constraints}


def test_a_grant_to_a_service_names_the_service(kms, key):
    source = {"Constraints": {"SourceArn": "arn:aws:rds:us-east-1:111122223333:db:orders"}}
    made = grant(kms, key, GranteeServicePrincipal="rds.amazonaws.com", RetiringServicePrincipal="rds.amazonaws.com", **source)
    [listed] = grants(kms, key, GranteeServicePrincipal="rds.amazonaws.com")
    assert listed["GrantId"] == made["GrantId"] and listed["Constraints"] == source["Constraints"]
    assert listed["GranteeServicePrincipal"] == listed["RetiringServicePrincipal"] == "rds.amazonaws.com"
    assert "GranteePrincipal" not in listed and "RetiringPrincipal" not in listed and "Name" not in listed
    for lacking in ({"RetiringPrincipal": KEEPER}, source):
        with refused("ValidationException"):
            grant(kms, key, GranteeServicePrincipal="rds.amazonaws.com", **lacking)


def test_a_name_makes_a_retry_harmless(kms, key):
    # A client that lost the reply repeats itself; two grants would outlive its one revocation.
    first = grant(kms, key, Name="once", Operations=["Encrypt", "Decrypt"])
    again = grant(kms, key, Name="once", Operations=["Decrypt", "Encrypt"])
    assert again["GrantId"] == first["GrantId"] and again["GrantToken"] != first["GrantToken"]
    others = [grant(kms, key, Name="once"), grant(kms, key, Name="twice", Operations=["Encrypt", "Decrypt"]),
              grant(kms, key, Name="once", Operations=["Encrypt", "Decrypt"], RetiringPrincipal=KEEPER),
              grant(kms, key, Operations=["Encrypt", "Decrypt"]), grant(kms, key, Operations=["Encrypt", "Decrypt"])]
    assert len(ids([first, *others])) == 6 == len(grants(kms, key))
    elsewhere = grant(kms, loaded(kms), Name="once", Operations=["Encrypt", "Decrypt"])
    assert elsewhere["GrantId"] != first["GrantId"]
    kms.retire_grant(GrantToken=first["GrantToken"])
    with refused("NotFoundException"):
        kms.retire_grant(GrantToken=again["GrantToken"])
    assert grant(kms, key, Name="once", Operations=["Encrypt", "Decrypt"])["GrantId"] != first["GrantId"]


PAIRS = {str(n): "" for n in range(9)}


@pytest.mark.parametrize("arguments, code", [
    ({"Operations": ["Sign"]}, "ValidationException"), ({"Operations": ["Fly"]}, "ValidationException"),
    ({"Operations": []}, "ValidationException"), ({"Name": "no; semicolons"}, "ValidationException"),
    ({"Name": ""}, "ValidationException"), ({"Name": "x" * 257}, "ValidationException"),
    ({"Constraints": {"EncryptionContextEquals": PAIRS}}, "ValidationException"),
    ({"Constraints": {"EncryptionContextSubset": {"a": "x" * 385}}}, "ValidationException"),
    ({"Constraints": {"SourceArn": "arn:aws:s3:::a-bucket-without-account"}}, "ValidationException"),
    ({"GranteePrincipal": "reader"}, "InvalidArnException"), ({"GranteePrincipal": "arn:aws:s3:::x"}, "InvalidArnException"),
    ({"GranteePrincipal": "arn:aws:iam::1111:role/short"}, "InvalidArnException"),
    ({"GranteePrincipal": "arn:aws:iam::111122223333:role/"}, "InvalidArnException"),
    ({"GranteePrincipal": "a role"}, "ValidationException"), ({"RetiringPrincipal": "reader"}, "InvalidArnException"),
    ({"RetiringPrincipal": KEEPER, "RetiringServicePrincipal": "a.amazonaws.com"}, "ValidationException"),
    ({"GranteePrincipal": READER, "GranteeServicePrincipal": "a.amazonaws.com"}, "ValidationException"),
    ({"GranteeServicePrincipal": "amazonaws.com"}, "ValidationException"),
    ({"GrantTokens": ["nonsense"]}, "InvalidGrantTokenException"), ({"GrantTokens": ["x"] * 11}, "ValidationException")])
def test_a_grant_has_its_rules(emulator, key, arguments, code):
    kms = emulator.client(parameter_validation=False)
    with refused(code):
        grant(kms, key, **arguments)
    assert grants(kms, key) == []


def test_every_kind_of_principal_can_be_granted_to(kms, key):
    sts = "arn:aws:sts::111122223333:"
    for principal in ("arn:aws:iam::999999999999:root", "arn:aws:iam::111122223333:user/path/ann", READER,
                      sts + "assumed-role/job/session", sts + "federated-user/bob", "arn:aws-us-gov:iam::111122223333:root"):
        made = grant(kms, key, GranteePrincipal=principal)
        assert ids(grants(kms, key, GranteePrincipal=principal)) == {made["GrantId"]}
    limits = {"EncryptionContextEquals": {str(n): "x" * 384 for n in range(8)}}
    grant(kms, key, Constraints=limits)


def test_a_key_must_be_enabled_and_named_by_itself(kms):
    shell, alias = external(kms), f"alias/granted-{next(serial)}"
    with refused("KMSInvalidStateException"):
        grant(kms, shell)
    kms.create_alias(AliasName=alias, TargetKeyId=shell)
    with refused("NotFoundException"):
        grant(kms, alias)
    for call in (grant, grants):
        with refused("InvalidArnException"):
            call(kms, f"arn:aws:kms:us-east-1:111122223333:{alias}")
        with refused("NotFoundException"):
            call(kms, "00000000-0000-0000-0000-000000000000")
    disabled = loaded(kms)
    kms.disable_key(KeyId=disabled)
    with refused("DisabledException"):
        grant(kms, disabled)


# --- Tokens --------------------------------------------------------------------------------------------------------


def test_grant_tokens_are_accepted_where_permission_could_come_from_one(kms, key):
    tokens = {"GrantTokens": [grant(kms, key)["GrantToken"] for _ in range(10)]}
    blob = kms.encrypt(KeyId=key, Plaintext=b"x", **tokens)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, **tokens)["Plaintext"] == b"x"
    kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key, **tokens)
    kms.generate_data_key(KeyId=key, KeySpec="AES_256", **tokens)
    kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256", **tokens)
    grant(kms, key, **tokens)
    wrong = {"GrantTokens": [tokens["GrantTokens"][0][:-4] + "AAAA"]}
    for call in (lambda: kms.encrypt(KeyId=key, Plaintext=b"x", **wrong), lambda: kms.decrypt(CiphertextBlob=blob, **wrong),
                 lambda: kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key, **wrong), lambda: grant(kms, key, **wrong),
                 lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256", **wrong),
                 lambda: kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256", **wrong)):
        with refused("InvalidGrantTokenException"):
            call()


def test_a_grant_allows_nothing_that_was_not_allowed(kms, key):
    # Permissions are not modelled: whoever relies on a constraint to keep someone out must test that elsewhere.
    grant(kms, key, Constraints={"EncryptionContextEquals": {"tenant": "a"}})
    assert kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"tenant": "b"})["CiphertextBlob"]


# --- Retiring and revoking -----------------------------------------------------------------------------------------


def test_a_grant_is_retired_by_its_token_or_by_key_and_id(kms, key):
    by_token, by_id, by_arn = (grant(kms, key) for _ in range(3))
    kms.retire_grant(GrantToken=by_token["GrantToken"])
    kms.retire_grant(KeyId=key, GrantId=by_id["GrantId"])
    kms.retire_grant(KeyId=f"arn:aws:kms:us-east-1:111122223333:key/{key}", GrantId=by_arn["GrantId"])
    assert grants(kms, key) == []
    left = grant(kms, key)
    for arguments in ({}, {"KeyId": key}, {"GrantId": left["GrantId"]}, {**{k: left[k] for k in ("GrantId", "GrantToken")}},
                      {"KeyId": key, "GrantToken": left["GrantToken"]}):
        with refused("ValidationException"):
            kms.retire_grant(**arguments)
    with refused("InvalidGrantTokenException"):
        kms.retire_grant(GrantToken=os.urandom(40).hex())
    assert ids(grants(kms, key)) == {left["GrantId"]}


def test_what_is_gone_or_elsewhere_cannot_be_removed(kms, key):
    made, other = grant(kms, key), loaded(kms)
    for remove in (kms.retire_grant, kms.revoke_grant):
        with refused("NotFoundException"):
            remove(KeyId=other, GrantId=made["GrantId"])
        with refused("InvalidGrantIdException"):
            remove(KeyId=key, GrantId="abc123")
        with refused("NotFoundException"):
            remove(KeyId="00000000-0000-0000-0000-000000000000", GrantId=made["GrantId"])
        with refused("InvalidArnException"):
            remove(KeyId="arn:aws:s3:::bucket", GrantId=made["GrantId"])
    kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    for remove in (kms.retire_grant, kms.revoke_grant):
        with refused("NotFoundException"):
            remove(KeyId=key, GrantId=made["GrantId"])


def test_a_dry_run_changes_nothing(kms, key):
    with refused("DryRunOperationException"):
        grant(kms, key, DryRun=True)
    assert grants(kms, key) == []
    made = grant(kms, key, Name="kept")
    for call in (lambda: grant(kms, key, Name="kept", DryRun=True),
                 lambda: kms.revoke_grant(KeyId=key, GrantId=made["GrantId"], DryRun=True),
                 lambda: kms.retire_grant(GrantToken=made["GrantToken"], DryRun=True)):
        with refused("DryRunOperationException"):
            call()
    assert ids(grants(kms, key)) == {made["GrantId"]}


# --- Listing -------------------------------------------------------------------------------------------------------


def test_grants_come_in_pages(kms, key):
    made = {grant(kms, key)["GrantId"] for _ in range(60)}
    first = kms.list_grants(KeyId=key)
    assert len(first["Grants"]) == 50 and first["Truncated"] and first["NextMarker"]
    for size in (100, 60, 50, 7):
        pages = list(kms.get_paginator("list_grants").paginate(KeyId=key, PaginationConfig={"PageSize": size}))
        listed = [entry["GrantId"] for page in pages for entry in page["Grants"]]
        assert len(listed) == 60 and set(listed) == made and len(pages) == -(-60 // size)
    with refused("InvalidMarkerException"):
        kms.list_grants(KeyId=key, Marker="nope")
    with refused("InvalidMarkerException"):
        kms.list_retirable_grants(RetiringPrincipal=KEEPER, Marker=first["NextMarker"])
    with refused("ValidationException"):
        kms.list_grants(KeyId=key, Limit=101)


def test_grants_are_listed_by_id_or_grantee(kms, key):
    reads, writes = grant(kms, key), grant(kms, key, GranteePrincipal=WRITER)
    assert ids(grants(kms, key, GranteePrincipal=WRITER)) == {writes["GrantId"]}
    assert ids(grants(kms, key, GrantId=reads["GrantId"])) == {reads["GrantId"]}
    assert grants(kms, key, GrantId=reads["GrantId"], GranteePrincipal=WRITER) == []
    assert grants(kms, key, GrantId="0" * 64) == [] == grants(kms, loaded(kms))
    with refused("InvalidGrantIdException"):
        grants(kms, key, GrantId="abc")
    with refused("ValidationException"):
        grants(kms, key, GranteePrincipal=READER, GranteeServicePrincipal="rds.amazonaws.com")


def test_retirable_grants_are_those_of_one_principal_on_all_keys(kms):
    keeper, keys = ROLE + f"keeper-{next(serial)}", [loaded(kms) for _ in range(3)]
    mine = {grant(kms, key, RetiringPrincipal=keeper)["GrantId"] for key in keys for _ in range(4)}
    for key in keys:
        grant(kms, key, RetiringPrincipal=KEEPER)
        grant(kms, key)
    for size in (100, 12, 5):
        pages = kms.get_paginator("list_retirable_grants").paginate(
            RetiringPrincipal=keeper, PaginationConfig={"PageSize": size})
        listed = [entry for page in pages for entry in page["Grants"]]
        assert len(listed) == 12 and ids(listed) == mine
        assert {entry["KeyId"].rpartition("/")[2] for entry in listed} == set(keys)
    for wrong, code in (({}, "ValidationException"), ({"RetiringPrincipal": "keeper"}, "InvalidArnException"),
                        ({"RetiringPrincipal": keeper, "RetiringServicePrincipal": "a.amazonaws.com"}, "ValidationException")):
        with refused(code):
            kms.list_retirable_grants(**wrong)


# --- Quotas --------------------------------------------------------------------------------------------------------


def test_grants_are_throttled_at_their_own_quota(start):
    emulator = start()
    limits = emulator.control("POST", "quotas", {"limits": {"CreateGrant": 2}})["limits"]
    published = {name: limits[name] for name in ("ListGrants", "ListRetirableGrants", "RetireGrant", "RevokeGrant")}
    assert published == {"ListGrants": 100, "ListRetirableGrants": 100, "RetireGrant": 50, "RevokeGrant": 50}
    kms = emulator.client(retries={"total_max_attempts": 1})
    key = loaded(kms)
    with refused("ThrottlingException"):
        for _ in range(10):
            grant(kms, key)
    grants(kms, key)
