"""Servers one after another, literally: who began when, event by event.  Slow, and shares nothing."""

from collections.abc import Callable, Sequence


def done_times(
    issued: Sequence[int],
    service: Sequence[int],
    servers: int,
    server_of: Callable[[int], int] | None = None,
) -> list[int]:
    """When each request completes; request ``i`` goes to ``server_of(i)``, or to any that is idle.

    Time goes on in steps from event to event; queues are lists that are searched.
    """
    done = [0] * len(issued)
    waiting: list[int] = []
    serving: dict[int, tuple[int, int]] = {}  # server -> (request, until)
    coming = list(range(len(issued)))
    now = 0
    while coming or waiting or serving:
        for server in [each for each, (_, until) in serving.items() if until <= now]:
            request, until = serving.pop(server)
            done[request] = until
        while coming and issued[coming[0]] <= now:
            waiting.append(coming.pop(0))
        for request in list(waiting):
            idle = [each for each in range(servers) if each not in serving]
            wanted = idle[:1] if server_of is None else [each for each in idle if each == server_of(request)]
            if wanted:
                waiting.remove(request)
                serving[wanted[0]] = (request, now + service[request])
        upcoming = [until for _, until in serving.values()]
        upcoming += [issued[coming[0]]] if coming else []
        if upcoming:
            now = min(upcoming)
    return done
