"""CPUs, as ``hwmodel.host`` has them."""

from hwmodel.compiled.events import LEAVE_CPU, call_at, new_order
from hwmodel.compiled.rows import compiled, cpu_at, request_at
from hwmodel.compiled.state import NOBODY, State


@compiled
def run_on_cpu(s: State, request: int, cost_ns: int, then: int) -> None:
    """Run so much work on the request's CPU, then go on with ``then``; wait while the CPU is busy."""
    r = request_at(s.requests, request)
    r.mark = s.now
    r.cpu_then = then
    cpu = cpu_at(s.cpus, r.cpu)
    if s.keeps == r.cpu:
        s.keeps = NOBODY
    elif cpu.busy:
        r.cost_ns = cost_ns
        r.next = NOBODY
        if cpu.first == NOBODY:
            cpu.first = request
        else:
            request_at(s.requests, cpu.last).next = request
        cpu.last = request
        return
    cpu.busy = 1
    call_at(s, s.now + cost_ns, new_order(s), request, LEAVE_CPU)


@compiled
def leave_cpu(s: State, number: int) -> None:
    """A task is over and what it led to has begun: unless that goes on here, the next one's turn comes."""
    if s.keeps != number:
        return
    s.keeps = NOBODY
    cpu = cpu_at(s.cpus, number)
    following = cpu.first
    if following == NOBODY:
        cpu.busy = 0
        return
    f = request_at(s.requests, following)
    cpu.first = f.next
    f.queued += s.now - f.mark
    f.mark = s.now
    call_at(s, s.now + f.cost_ns, new_order(s), following, LEAVE_CPU)
