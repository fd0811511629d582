"""Run lines and gateways in a separate thread, which has its own event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
import threading
from typing import Any

from .gateway import Gateway
from .line import Line


@contextmanager
def line_in_thread(line: Line) -> Iterator[Line]:
    """Run a line in a thread."""
    with _in_thread(line):
        yield line


@contextmanager
def gateway_in_thread[G: Gateway](
    line: Line, make_gateway: Callable[[Line], G]
) -> Iterator[G]:
    """Run a line and its gateway in a thread. `make_gateway` creates the gateway."""
    gateway = make_gateway(line)
    with _in_thread(line, gateway):
        yield gateway


@contextmanager
def _in_thread(*contexts: AbstractAsyncContextManager[object]) -> Iterator[None]:
    """Enter asynchronous contexts, one after another, in the loop of one thread."""
    loop = asyncio.new_event_loop()

    def run(work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = AsyncExitStack()
    try:
        try:
            for context in contexts:
                run(stack.enter_async_context(context))
            yield
        finally:
            run(stack.aclose())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
