"""Owns the forkserver, from which lane processes are forked, and its environment. A lost forkserver is started again.

`/proc/PID/environ` shows the environment with which a process was started for as long as it lives, and a child must not
know more than it needs. So the forkserver, and the resource tracker that comes with it, are given the variables of an
allow-list only.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from metadata_inventory.environment import is_passed_on

PRELOADED = ["metadata_inventory.collect.engine.entry"]


def make_context() -> ForkServerContext:
    """The context of the lanes' pools. It sets the preload list of the whole process: nobody else may set that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextmanager
def cleaned_environment() -> Iterator[None]:
    """Only allowed variables while the block runs; forkserver and resource tracker are started in it if need be.

    `multiprocessing` passes on its own environment and has no parameter for it. The block must not wait for anything,
    because every thread that reads the environment meanwhile sees the cleaned one.
    """
    removed = {name: value for name, value in os.environ.items() if not is_passed_on(name)}
    for name in removed:
        del os.environ[name]
    try:
        forkserver.ensure_running()
        yield
    finally:
        os.environ.update(removed)
