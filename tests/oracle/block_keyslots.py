"""The keyslot manager written out literally: lists, linear searches, identity comparisons, no shared code.

Reference block-layer.md sections 3.12 to 3.15.
"""

from dataclasses import dataclass, field


@dataclass(eq=False)
class LiteralSlot:
    index: int
    key: object | None = None
    refs: int = 0
    hardware: object | None = None


@dataclass(eq=False)
class LiteralManager:
    """Slots, the idle list (head is next to go), and who waits."""

    slots: list[LiteralSlot]
    idle: list[LiteralSlot] = field(default_factory=list)
    waiting: list[tuple[str, object]] = field(default_factory=list)
    results: list[tuple[str, object]] = field(default_factory=list)
    programs: list[tuple[object, int]] = field(default_factory=list)
    evicts: list[int] = field(default_factory=list)
    program_fails: bool = False
    evict_fails: bool = False

    def _lookup(self, key: object) -> LiteralSlot | None:
        found = [slot for slot in self.slots if slot.key is key]
        assert len(found) <= 1
        return found[0] if found else None

    def _try(self, name: str, key: object) -> bool:
        slot = self._lookup(key)
        if slot is not None:
            slot.refs = slot.refs + 1
            if slot.refs == 1:
                self.idle = [other for other in self.idle if other is not slot]
            self.results.append((name, slot.index))
            return True
        if len(self.idle) == 0:
            return False
        slot = self.idle[0]
        self.programs.append((key, slot.index))
        if self.program_fails:
            self.results.append((name, "failed"))
            return True
        slot.hardware = key
        slot.key = key
        slot.refs = 1
        self.idle = self.idle[1:]
        self.results.append((name, slot.index))
        return True

    def get(self, name: str, key: object) -> None:
        if not self._try(name, key):
            self.waiting.append((name, key))

    def put(self, index: int) -> None:
        slot = self.slots[index]
        assert slot.refs > 0
        slot.refs = slot.refs - 1
        if slot.refs == 0:
            self.idle.append(slot)
            still = []
            for name, key in self.waiting:
                if not self._try(name, key):
                    still.append((name, key))
            self.waiting = still

    def evict(self, key: object) -> str:
        slot = self._lookup(key)
        if slot is None:
            return "absent"
        if slot.refs != 0:
            slot.key = None
            return "busy"
        self.evicts.append(slot.index)
        slot.key = None
        if self.evict_fails:
            return "error"
        slot.hardware = None
        return "evicted"

    def reset(self) -> None:
        for slot in self.slots:
            slot.hardware = None

    def reprogram(self) -> None:
        for slot in self.slots:
            if slot.key is not None:
                self.programs.append((slot.key, slot.index))
                if not self.program_fails:
                    slot.hardware = slot.key


def literal_manager(num_slots: int) -> LiteralManager:
    slots = [LiteralSlot(index) for index in range(num_slots)]
    return LiteralManager(slots, idle=list(slots))
