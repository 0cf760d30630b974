"""Takes the fixture `collecting`, an engine in this process, from the tests of `collect`."""

from tests.collect.conftest import collecting as collecting
