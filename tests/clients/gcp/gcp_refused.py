"""What a refusal must be."""

from contextlib import contextmanager

import pytest
from google.api_core.exceptions import GoogleAPICallError


@contextmanager
def refused(status, http=None, says=None):
    """The call fails with this canonical code."""
    with pytest.raises(GoogleAPICallError) as caught:
        yield
    error = caught.value.response.json()["error"]
    assert error["status"] == status, error
    assert error["code"] == caught.value.code
    assert http is None or error["code"] == http
    assert says is None or says in error["message"], error
