"""What comes next: the events in a heap, and queues.  As ``hwmodel.clock`` orders them."""

from typing import Final

from hwmodel.compiled.rows import compiled, event_at, queue_at, request_at
from hwmodel.compiled.state import NOBODY, State

# Queues by number; those of the CPUs are the last.
FOR_TAGS, READERS, WRITERS, SLEEPERS, SENT = 0, 1, 2, 3, 4
OF_CPUS: Final = 5

# How a request goes on.
COMPLETE, BEGIN, READ_PATH, WRITE_MEDIA, PROGRAMMED, LEAVE_CPU, SUBMITTED = 0, 1, 2, 3, 4, 5, 6


@compiled
def new_order(s: State) -> int:
    """What decides between this event and others of the same time."""
    order = s.order
    s.order += 1
    return order


@compiled
def call_at(s: State, when: int, order: int, request: int, then: int) -> None:
    """Go on with ``request`` at ``when``."""
    request_at(s.requests, request).then = then
    at = s.events
    s.events += 1
    while at:
        above = (at - 1) >> 1
        event = event_at(s.heap, above)
        if event.when < when or (event.when == when and event.order < order):
            break
        _put(s, at, event.when, event.order, event.request)
        at = above
    _put(s, at, when, order, request)


@compiled
def next_event(s: State) -> int:
    """Take the first event: let its time come; whose it is."""
    first = event_at(s.heap, 0)
    request = first.request
    s.now = first.when
    s.events -= 1
    count = s.events
    last = event_at(s.heap, count)
    when, order = last.when, last.order
    at, below = 0, 1
    while below < count:
        event = event_at(s.heap, below)
        if below + 1 < count:
            other = event_at(s.heap, below + 1)
            if other.when < event.when or (other.when == event.when and other.order < event.order):
                below += 1
                event = other
        if when < event.when or (when == event.when and order < event.order):
            break
        _put(s, at, event.when, event.order, event.request)
        at, below = below, 2 * below + 1
    _put(s, at, when, order, last.request)
    return request


@compiled
def _put(s: State, at: int, when: int, order: int, request: int) -> None:
    event = event_at(s.heap, at)
    event.when, event.order, event.request = when, order, request


@compiled
def anybody(s: State, number: int) -> bool:
    """Whether somebody waits in a queue."""
    return queue_at(s.queues, number).first != NOBODY


@compiled
def append(s: State, number: int, request: int) -> None:
    """Let ``request`` wait in a queue."""
    queue = queue_at(s.queues, number)
    request_at(s.requests, request).next = NOBODY
    if queue.first == NOBODY:
        queue.first = request
    else:
        request_at(s.requests, queue.last).next = request
    queue.last = request


@compiled
def pop(s: State, number: int) -> int:
    """Who has waited longest in a queue."""
    queue = queue_at(s.queues, number)
    request = queue.first
    queue.first = request_at(s.requests, request).next
    return request
