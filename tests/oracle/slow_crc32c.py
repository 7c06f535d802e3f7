"""crc32c one bit at a time, as RFC 3720 defines it but for the inversions, which ext4 does not make."""


def crc32c(data: bytes) -> int:
    """State after ``data``, from all ones."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state
