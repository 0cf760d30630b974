"""Problem details: every error of the project has a status and a code."""

from __future__ import annotations

import pytest

from metadata_inventory import errors
from metadata_inventory.web.http.problem import describe_error, status_of


def family(error: type[errors.InventoryError]) -> list[type[errors.InventoryError]]:
    return [error, *(one for subclass in error.__subclasses__() for one in family(subclass))]


@pytest.mark.parametrize("error", family(errors.InventoryError), ids=lambda error: error.__name__)
def test_every_error_has_a_status_and_a_code_of_its_own(error: type[errors.InventoryError]) -> None:
    problem, _ = describe_error(error())
    assert problem.status == status_of(error) >= 400
    assert problem.title
    declared = [one for one in family(errors.InventoryError) if "code" in vars(one) and one.code == error.code]
    assert len(declared) == 1


def test_every_error_stands_in_the_modules_tree() -> None:
    tree = errors.__doc__ or ""
    assert all(error.__name__ in tree for error in family(errors.InventoryError))


def test_headers_of_an_error_say_when_or_how_to_ask_again() -> None:
    _, headers = describe_error(errors.QueueFull(retry_after_s=7))
    assert headers == {"Retry-After": "7"}
    _, headers = describe_error(errors.TokenMissing())
    assert headers == {"WWW-Authenticate": 'Bearer realm="metadata-inventory"'}
    _, headers = describe_error(errors.TokenInvalid())
    assert headers == {"WWW-Authenticate": 'Bearer realm="metadata-inventory", error="invalid_token"'}
