"""CPUs, as ``hwmodel.host`` has them."""

from hwmodel.compiled.events import LEAVE_CPU, OF_CPUS, anybody, append, call_at, new_order, pop
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
        append(s, OF_CPUS + r.cpu, request)
        return
    cpu.busy = 1
    call_at(s, s.now + cost_ns, new_order(s), request, LEAVE_CPU)


@compiled
def leave_cpu(s: State, number: int) -> None:
    """A task is over and what it led to has begun: unless that goes on here, the next one's turn comes."""
    if s.keeps != number:
        return
    s.keeps = NOBODY
    if not anybody(s, OF_CPUS + number):
        cpu_at(s.cpus, number).busy = 0
        return
    following = pop(s, OF_CPUS + number)
    f = request_at(s.requests, following)
    f.queued += s.now - f.mark
    f.mark = s.now
    call_at(s, s.now + f.cost_ns, new_order(s), following, LEAVE_CPU)
