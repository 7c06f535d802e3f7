"""Whether I/Os that take from reserves can get stuck: every interleaving, by brute force.

A state is how far each I/O has come.  From ``at``, an I/O may take its next element when there is one, or end
when it has all; an ended I/O starts again.  A state in which no I/O can move is a deadlock.
"""

Step = tuple[str, int]


def can_deadlock(paths: list[list[Step]], reserves: dict[str, int]) -> bool:
    """Whether some interleaving of the I/Os in ``paths`` (reserve, count per step) gets stuck."""
    start = (0,) * len(paths)
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        free = dict(reserves)
        for path, done in zip(paths, state, strict=True):
            for name, count in path[:done]:
                free[name] -= count
        following = []
        for who, (path, done) in enumerate(zip(paths, state, strict=True)):
            if done == len(path):
                following.append((*state[:who], 0, *state[who + 1 :]))
            elif free[path[done][0]] >= path[done][1]:
                following.append((*state[:who], done + 1, *state[who + 1 :]))
        if not following:
            return True
        fresh = [new for new in following if new not in seen]
        seen.update(fresh)
        todo.extend(fresh)
    return False
