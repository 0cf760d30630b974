"""The collector without its process is the collect package's own fixture."""

from tests.collect.conftest import collecting as collecting
