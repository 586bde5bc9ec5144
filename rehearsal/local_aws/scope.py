"""The account and region that code of MiniStack works in: those of the request, unless told otherwise."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ministack.core import responses

ACCOUNT, REGION = os.environ["MINISTACK_ACCOUNT_ID"], os.environ["MINISTACK_REGION"]


@contextmanager
def scope(account: str, region: str) -> Iterator[None]:
    """Work in another account or region for a while."""
    before = responses.get_account_id(), responses.get_region()
    responses.set_request_account_id(account)
    responses.set_request_region(region)
    try:
        yield
    finally:
        responses.set_request_account_id(before[0])
        responses.set_request_region(before[1])
