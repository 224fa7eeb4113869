"""Work done ahead in threads, its results handed out in order.

Decoding, resizing and reading leave the interpreter's lock, so threads are enough, and need
neither shared memory nor a second copy of the libraries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(work: Callable[[Given], Made], items: Iterable[Given], workers: int) -> Iterator[Made]:
    """`work` of each item, in order, at most two items a worker ahead of the reader.

    Args:
        work: Called in another thread; what it raises is raised here, in its turn.
        items: What to work on.
        workers: Threads; 0 works in the caller's own.
    """
    if workers < 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
