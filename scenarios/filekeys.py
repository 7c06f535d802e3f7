"""Files of a layout -> key objects and DUNs, by the key design.

Files are dealt to master keys in turn.  Keys are made when a file is first touched, one vectorised look-up
per batch; what a bio costs does not depend on how many files or keys there are.
"""

import hashlib
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import HkdfContext, MasterKey
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, Policy, PolicyFlags
from blkcrypto.fs.smallfs.disk import FIRST_INO
from hwmodel.keywrap import KeyWrapUnit
from scenarios.designs import policy_flags
from scenarios.schema import Keys
from scenarios.streams import stream

Ints = npt.NDArray[np.int64]

_RAW_MASTER_KEY_BYTES: Final = 64
_UNSET: Final = -1


class FileKeys:
    """Contents keys of the files of one run.

    Args:
        keys: the scenario's key section; its design has keys.
        seed: of master keys, nonces and the filesystem's UUID.
        keywrap: the device's unit, needed for hardware-wrapped keys.

    Attributes:
        objects: key objects by number.
        key_ops: operations of the key-wrapping unit, and how many of each.
        dun_wraps_at: where DUNs start over, so that no bio may cross it; None when that is out of reach.
    """

    def __init__(self, keys: Keys, *, seed: int, keywrap: KeyWrapUnit | None) -> None:
        self.objects: list[BlkCryptoKey] = []
        self.key_ops: dict[str, int] = {}
        self._seed = seed
        wraps = policy_flags(keys.design) == PolicyFlags.IV_INO_LBLK_32
        self.dun_wraps_at = 1 << 32 if wraps else None
        self._number_of_file: Ints = np.full(1024, _UNSET, dtype=np.int64)
        self._hashed_ino: Ints = np.zeros(1024, dtype=np.int64)
        self._number_of_object: dict[BlkCryptoKey, int] = {}
        rng = stream(seed, "master-keys")
        fs = ext4_like(stream(seed, "filesystem-uuid").bytes(16), block_size=max(4096, keys.data_unit_size))
        self._setups = [
            self._setup(keys, fs, self._master_key(keys, rng, keywrap)) for _ in range(keys.master_keys)
        ]

    def _master_key(self, keys: Keys, rng: np.random.Generator, keywrap: KeyWrapUnit | None) -> MasterKey:
        if keys.type == "raw":
            return MasterKey.from_raw(rng.bytes(_RAW_MASTER_KEY_BYTES))
        assert keywrap is not None, "checked with the scenario"
        for operation in ("generate", "prepare", "derive_sw_secret"):
            self.key_ops[operation] = self.key_ops.get(operation, 0) + 1
        blob = keywrap.prepare_key(keywrap.generate_key())
        return MasterKey.from_hw_wrapped(blob, keywrap.derive_sw_secret(blob))

    @staticmethod
    def _setup(keys: Keys, fs: FileSystem, master_key: MasterKey) -> KeySetup:
        bits = keys.data_unit_size.bit_length() - 1
        policy = Policy(
            master_key=master_key.identifier,
            flags=PolicyFlags.PAD_32 | policy_flags(keys.design),
            log2_data_unit_size=0 if bits == fs.block_bits else bits,
        )
        return KeySetup(policy, master_key, fs)

    def look_up(self, files: Ints, unit_index: Ints) -> tuple[Ints, npt.NDArray[np.uint64]]:
        """Key numbers (positions in ``objects``, -1 where ``files`` is -1) and DUNs of ``int64[n]`` bios.

        Files seen for the first time get their keys here.
        """
        encrypted = files >= 0
        highest = int(files.max(initial=0))
        if highest >= len(self._number_of_file):
            grown = np.full(max(highest + 1, 2 * len(self._number_of_file)), _UNSET, dtype=np.int64)
            grown[: len(self._number_of_file)] = self._number_of_file
            self._number_of_file = grown
            self._hashed_ino = np.resize(self._hashed_ino, len(grown))
        numbers = np.where(encrypted, self._number_of_file[files], _UNSET)
        new = encrypted & (numbers == _UNSET)
        if new.any():
            for file in np.unique(files[new]).tolist():
                self._number_of_file[file] = self._number(file)
                if self.dun_wraps_at is not None:
                    self._hashed_ino[file] = self._setup_of(file).hashed_ino(file + FIRST_INO)
            numbers = np.where(encrypted, self._number_of_file[files], _UNSET)
        return numbers, self._duns(files, unit_index)

    def _duns(self, files: Ints, unit_index: Ints) -> npt.NDArray[np.uint64]:
        if self.dun_wraps_at is None:
            return self._setups[0].duns(files + FIRST_INO, unit_index)
        # The hash depends on the file's master key; one per file is kept from its first touch.
        return (self._hashed_ino[files] + unit_index).astype(np.uint64) % np.uint64(self.dun_wraps_at)

    def _number(self, file: int) -> int:
        key = self._setup_of(file).contents_key(file + FIRST_INO, self._nonce(file))
        number = self._number_of_object.get(key)
        if number is None:
            number = self._number_of_object[key] = len(self.objects)
            self.objects.append(key)
        return number

    def own_key(self, file: int, length: int) -> BlkCryptoKey:
        """A per-file key, whatever the policy's flags: HKDF context 2 and the file's nonce."""
        setup = self._setup_of(file)
        secret = setup.master_key
        assert isinstance(secret, MasterKey), "scenarios have v2 policies"
        raw = secret.derive(HkdfContext.PER_FILE_ENC_KEY, self._nonce(file), length)
        return BlkCryptoKey(replace(setup.config, key_type=KeyType.RAW), setup.data_unit_bits, raw, file)

    def first_dun(self, file: int) -> int:
        """DUN of the file's first data unit."""
        return self._setup_of(file).first_dun(file + FIRST_INO, self._nonce(file), 0)

    def _setup_of(self, file: int) -> KeySetup:
        return self._setups[file % len(self._setups)]

    def _nonce(self, file: int) -> bytes:
        return hashlib.sha256(f"nonce {self._seed} {file}".encode()).digest()[:NONCE_BYTES]

    @property
    def derivations(self) -> int:
        """Key derivations of all master keys."""
        return sum(setup.costs.derivations for setup in self._setups)

    @property
    def on_disk_bytes(self) -> int:
        """Encryption contexts of the files touched."""
        return sum(setup.costs.on_disk_bytes for setup in self._setups)

    @property
    def in_memory_bytes(self) -> int:
        """Estimate for the files touched and their keys."""
        return sum(setup.costs.in_memory_bytes for setup in self._setups)

    @property
    def files(self) -> int:
        """Files touched."""
        return int((self._number_of_file != _UNSET).sum())

    @property
    def touched(self) -> Ints:
        """Their numbers, ``int64[files]``."""
        return np.flatnonzero(self._number_of_file != _UNSET)
