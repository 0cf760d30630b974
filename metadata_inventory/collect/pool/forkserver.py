"""The process from which lanes' processes are forked: started with a cleaned environment, and again when it is lost.

A child must not know what it does not need, and `/proc/PID/environ` shows what a process was started with for as long
as it runs. So the forkserver, and the resource tracker that comes with it, never see more than an allow-list.
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
    """The context for lanes' pools. The preload list belongs to the whole process; nobody else may set it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextmanager
def cleaned_environment() -> Iterator[None]:
    """Only allowed variables while the block runs; in it forkserver and resource tracker are started if need be.

    `multiprocessing` hands its own environment on and has no parameter for it. The block must not wait for anything:
    whoever reads the environment meanwhile sees the cleaned one.
    """
    removed = {name: value for name, value in os.environ.items() if not is_passed_on(name)}
    for name in removed:
        del os.environ[name]
    try:
        forkserver.ensure_running()
        yield
    finally:
        os.environ.update(removed)
