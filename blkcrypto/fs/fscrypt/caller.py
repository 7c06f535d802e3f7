"""Who calls: what permission checks look at."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Caller:
    """Credentials of a process.

    Attributes:
        fsuid: claims and quota are counted by it.
        cap_sys_admin: may add keys by descriptor and remove all users' claims.
        cap_fowner: counts as owner of every inode, and may set v2 policies without a claim.
    """

    fsuid: int = 0
    cap_sys_admin: bool = False
    cap_fowner: bool = False

    def owns(self, uid: int) -> bool:
        """``inode_owner_or_capable()``."""
        return self.fsuid == uid or self.cap_fowner


ROOT: Final = Caller(0, cap_sys_admin=True, cap_fowner=True)
