"""Designs with one key for the device: dm-crypt, dm-inlinecrypt, default-key, and sealed devices."""

from dataclasses import replace

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey, CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.crypto.dmcrypt import DmCipher
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES
from blkcrypto.fs.keysetup_io.extent_io import TRANSFORM_BYTES
from hwmodel.companions import DesignWork
from hwmodel.dataplane import UnitCipher
from hwmodel.inlinecipher import inline_cipher
from hwmodel.keywrap import KeyWrapUnit
from scenarios.keying.bios import Bios, share_of
from scenarios.keying.ciphers import RunCipher, SealingCipher
from scenarios.keying.keyer import FileBytes, Footprint
from scenarios.keying.per_file import FilesSeen, FscryptKeyer
from scenarios.keying.setup import SetupTally
from scenarios.schema import Scenario
from scenarios.streams import stream


def device_key(scenario: Scenario, keywrap: KeyWrapUnit | None, raw_bytes: int = 64) -> BlkCryptoKey:
    """The device's key, raw or wrapped."""
    unit = scenario.keys.data_unit_size
    wrapped = scenario.keys.type == "hw-wrapped"
    if wrapped:
        assert keywrap is not None, "checked with the scenario"
        raw = keywrap.prepare_key(keywrap.generate_key())
    else:
        raw = stream(scenario.run.seed, "device-key").bytes(raw_bytes)
    config = CryptoConfig(
        crypto_mode=CryptoModeNum.AES_256_XTS,
        data_unit_size=unit,
        dun_bytes=8,
        key_type=KeyType.HW_WRAPPED if wrapped else KeyType.RAW,
    )
    return BlkCryptoKey(config, unit.bit_length() - 1, raw, "device")


class DeviceKeyer:
    """One key; DUN = data unit's number on the device.

    Args:
        longest: bios are cut to this many bytes, as dm-crypt does; 0 for no limit.
        sealed: AES-256-GCM instead of AES-256-XTS.
        table: dm-crypt's specification; empty for DUN = IV.
    """

    def __init__(
        self,
        scenario: Scenario,
        file_bytes: FileBytes,
        keywrap: KeyWrapUnit | None,
        *,
        longest: int = 0,
        sealed: bool = False,
        table: str = "",
    ) -> None:
        self.objects = [device_key(scenario, keywrap, 32 if sealed or "cbc" in table else 64)]
        self.key_ops: dict[str, int] = {}
        if scenario.keys.type == "hw-wrapped":
            self.key_ops = {"generate": 1, "prepare": 1}
        self.tally = SetupTally()
        self._unit = scenario.keys.data_unit_size
        self._longest = longest
        self._table = table
        self._large = scenario.design.iv_large_sectors
        self._sealing: SealingCipher | None = None
        if sealed:
            self._sealing = SealingCipher(self.objects[0].raw, stream(scenario.run.seed, "sealing-ivs").bytes)
        self._seen = FilesSeen(file_bytes)
        self._keywrap = keywrap
        self._own_cipher = bool(table) or sealed

    def keyed(self, bios: Bios) -> Bios:
        """See ``Keyer``."""
        data = bios.with_data
        bios.key = np.where(data, 0, -1)
        unit_shift = self._unit.bit_length() - 1 - SECTOR_SHIFT
        bios.dun = np.where(data, bios.sector >> unit_shift, 0).astype(np.uint64)
        return bios.cut_to(self._longest, self._unit) if self._longest else bios

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """See ``Keyer``: the device was set up before."""
        self._seen.new(bios)

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """See ``Keyer``."""
        if self._sealing is not None:
            return self._sealing
        if not self._table:
            return inline_cipher(key, self._keywrap)
        cipher = DmCipher(self._table, key.raw, sector_size=self._unit, iv_large_sectors=self._large)
        step = self._unit >> SECTOR_SHIFT
        return RunCipher(
            lambda number, src, out: cipher.encrypt(number * step, src, out),
            lambda number, src, out: cipher.decrypt(number * step, src, out),
            cipher.wipe,
        )

    def footprint(self) -> Footprint:
        """See ``Keyer``: nothing per file, and a random volume key; a LUKS header is not counted."""
        return Footprint(
            files=len(self._seen),
            data_bytes=self._seen.data_bytes,
            keys_live=1,
            derivations=0,
            on_disk_bytes=0,
            in_memory_bytes=TRANSFORM_BYTES if self._own_cipher else BLK_CRYPTO_KEY_BYTES,
            extra={} if self._sealing is None else {"units_refused": self._sealing.refused},
        )


class DefaultKeyKeyer:
    """default-key: files with a policy have their own keys, all other data has the device's."""

    def __init__(self, scenario: Scenario, files: FscryptKeyer, keywrap: KeyWrapUnit | None) -> None:
        self._files = files
        self._share = scenario.design.metadata_share
        self._unit = scenario.keys.data_unit_size
        self.objects = files.objects
        self.objects.append(device_key(scenario, keywrap))
        self.key_ops = dict(files.key_ops)
        if scenario.keys.type == "hw-wrapped":
            for operation in ("generate", "prepare"):
                self.key_ops[operation] = self.key_ops.get(operation, 0) + 1
        self.tally = files.tally
        # Keys of files are numbered from where the list stood, so the device's comes first.
        assert len(self.objects) == 1
        self._keywrap = keywrap

    def keyed(self, bios: Bios) -> Bios:
        """See ``Keyer``."""
        plain = share_of(bios.file, self._share)
        files = np.where(plain, -1, bios.file)
        bios.key, bios.dun = self._files.keys.look_up(files, bios.unit)
        unit_shift = self._unit.bit_length() - 1 - SECTOR_SHIFT
        bios.key[plain] = 0
        bios.dun[plain] = (bios.sector[plain] >> unit_shift).astype(np.uint64)
        return bios

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """See ``Keyer``."""
        self._files.charge(bios, first_number, work)

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """See ``Keyer``."""
        return inline_cipher(key, self._keywrap)

    def footprint(self) -> Footprint:
        """See ``Keyer``: what the files need, and one key for the device."""
        of_files = self._files.footprint()
        return replace(
            of_files,
            keys_live=len(self.objects),
            in_memory_bytes=of_files.in_memory_bytes + BLK_CRYPTO_KEY_BYTES,
        )
