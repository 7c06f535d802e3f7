"""What must lie in the inline area: one data unit under the key and IV of each alternative."""

from dataclasses import replace

from tests.oracle.fscrypt_files import Subject, contents_unit


def region(alternative: str, subject: Subject, plaintext: bytes) -> bytes:
    """Ciphertext of a region, AES-256-XTS; the master key is the software secret where it is wrapped."""
    padded = plaintext + bytes(-len(plaintext) % 16)
    if alternative in ("A3", "A4"):
        subject = replace(subject, flags=0, hw_raw_key=b"")
    return contents_unit(subject, 1, 0, padded)
