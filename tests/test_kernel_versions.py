"""What each kernel version has: reference block-layer.md, the version map, sections 1.1, 3.14 and 4.6."""

import pytest

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.era import KERNELS, AlignmentCheck, FallbackPlace, kernel_profile

VERSIONS = ("5.8", "5.16", "5.18", "6.4", "6.12", "6.15", "6.16", "6.18", "6.19", "7.0", "7.2", "7.3")
# Feature, the first version that has it, and the first that has it no more.
FEATURES = (
    ("has_sysfs", "5.18", None),
    ("release_before_callback", "6.4", None),
    ("evict_always_unlinks", "6.4", None),
    ("key_types", "6.15", None),
    ("bulk_bounce", "7.0", None),
    ("sync_ciphers_only", "7.0", None),
    ("slot_held_during_submit", "7.0", None),
    ("allow_hw_flag", "7.3", None),
    ("has_config_supported", "5.8", "7.3"),
    ("fallback_checks_config", "5.8", "7.3"),
)


def since(version: str, first: str, gone: str | None) -> bool:
    at = VERSIONS.index(version)
    return VERSIONS.index(first) <= at and (gone is None or at < VERSIONS.index(gone))


def test_these_are_all_versions() -> None:
    assert tuple(KERNELS) == VERSIONS


@pytest.mark.parametrize(("feature", "first", "gone"), FEATURES)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_has_a_feature_from_where_it_came_to_where_it_went(
    version: str, feature: str, first: str, gone: str | None
) -> None:
    assert getattr(kernel_profile(version), feature) is since(version, first, gone)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fallback_moved_above_the_block_layer_with_7_0_and_its_alignment_check_with_it(
    version: str,
) -> None:
    kernel, above = kernel_profile(version), since(version, "7.0", None)
    assert kernel.fallback is (FallbackPlace.ABOVE if above else FallbackPlace.INSIDE)
    assert kernel.alignment_check is (AlignmentCheck.WHERE_USED if above else AlignmentCheck.AT_SUBMISSION)
    assert kernel.bounce_pages == (256 if above else 32)
    assert kernel.misaligned_status is (BlkStatus.INVAL if since(version, "6.4", None) else BlkStatus.IOERR)


@pytest.mark.parametrize("version", VERSIONS)
def test_more_dm_targets_pass_encrypted_bios_on_from_7_2_on(version: str) -> None:
    newer = {"striped", "thin", "thin-pool"} if since(version, "7.2", None) else set()
    assert kernel_profile(version).dm_passes_crypto == {"linear", "flakey", *newer}


@pytest.mark.parametrize("version", VERSIONS)
def test_eviction_from_a_fallback_that_never_started_ends_early_in_6_12_only(version: str) -> None:
    assert kernel_profile(version).evict_skips_unstarted_modes is (version == "6.12")
