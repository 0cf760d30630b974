"""The collector without its process is the collect package's own fixture."""

import pytest

from tests.collect.conftest import collecting as collecting

pytest.register_assert_rewrite("tests.odd.case")  # where a case's facts are held against the outcome
