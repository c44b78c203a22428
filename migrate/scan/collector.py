"""Python's cyclic garbage collector, which costs more than the parsing where many objects are read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """No cyclic garbage collection in the block: objects of JSON have no cycles, and go when nobody holds them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
