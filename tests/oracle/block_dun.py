"""DUN arithmetic on four 64-bit limbs with a carry, as the kernel does it; no big integers.

Reference block-layer.md section 3.9.
"""

MASK = 0xFFFFFFFFFFFFFFFF


def increment(limbs: list[int], units: int) -> list[int]:
    """Add a 32-bit count; the carry is 0 or 1; what overflows the last limb is lost."""
    out = list(limbs)
    carry = units
    position = 0
    while carry and position < 4:
        total = out[position] + carry
        out[position] = total & MASK
        carry = 1 if total > MASK else 0
        position += 1
    return out


def contiguous(first: list[int], units: int, following: list[int]) -> bool:
    """Compare limb by limb, carrying; a carry left over at the end means no."""
    carry = units
    for position in range(4):
        total = first[position] + carry
        if total & MASK != following[position]:
            return False
        carry = 1 if total > MASK else 0
    return carry == 0
