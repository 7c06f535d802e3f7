"""A bio's stages as reports show them: a colour each, and what it means."""

from typing import Final, NamedTuple


class StageLook(NamedTuple):
    """How a stage is shown."""

    colour: str
    meaning: str


# Colours stay apart for colour-blind readers and in print (Okabe and Ito), one per kind of stage.
STAGE_LOOKS: Final = {
    "queued": StageLook("#999999", "waiting for a CPU to run on"),
    "submit": StageLook("#bbbbbb", "CPU time of submission"),
    "tag_wait": StageLook("#e69f00", "waiting for a tag"),
    "scheduler": StageLook("#f7d08a", "held back in the scheduler, where bios merge"),
    "keyslot_lock": StageLook("#d55e00", "waiting for the profile lock behind other keyslot operations"),
    "keyslot_idle": StageLook("#cc79a7", "waiting for any keyslot to become idle"),
    "keyslot_program": StageLook("#f0e442", "programming a keyslot with the bio's own key"),
    "cpu_crypto": StageLook("#009e73", "software encryption or decryption"),
    "device_queue": StageLook("#56b4e9", "waiting for the link, the engine or a media unit"),
    "transfer": StageLook("#7aa6c2", "link and inline engine"),
    "media": StageLook("#0072b2", "flash"),
}

# Of the style sheet, which has others for dark pages.
_LINES: Final = {
    "queued": "var(--faint)",
    "submit": "var(--pale)",
    "scheduler": "var(--sand)",
    "keyslot_program": "var(--olive)",
    "media": "var(--deep)",
}


def stage_words(stage: str) -> str:
    """``keyslot_lock`` as people read it."""
    return stage.replace("_", " ")


def line_colour(stage: str) -> str:
    """The stage's colour where it is a thin line on a page: pale ones are darker there."""
    return _LINES.get(stage, STAGE_LOOKS[stage].colour)
