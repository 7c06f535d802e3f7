"""A comparison of designs, as people, programs and figures get it."""

import json
import re
from pathlib import Path

import pytest

from scenarios import cli
from scenarios.commands.compare import PLOTTED
from scenarios.compare import Point, run_grid
from scenarios.designs import DESIGNS
from scenarios.load import load_scenario
from scenarios.report.design_plot import FIGURES, STAGES, plot_points

QUESTIONS = (
    "authenticated", "extents-heavy-versus-light", "inline-data", "key-setup-during-io", "multi-user-2014",
    "whole-disk-versus-per-file",
)  # fmt: skip
VARY = {"keys.design": ("fscrypt-per-file", "extents-lightweight", "aead-table")}


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return run_grid("keyslot-contention", VARY, sets=("ios=200",))


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert cli.main(args) == 0
    return capsys.readouterr().out


def test_a_row_for_each_design_in_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(VARY["keys.design"])
    text = printed(capsys, "compare", "keyslot-contention", "--set", "ios=200", "--vary", f"design={names}")
    for name in VARY["keys.design"]:
        assert len(re.findall(rf"^{name} ", text, re.MULTILINE)) == 4
    assert "master-key semaphore in NOFS" in text


def test_more_designs_than_fit_side_by_side_still_have_their_rows(capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name in DESIGNS if name != "none"]
    text = printed(
        capsys, "compare", "keyslot-contention", "--set", "ios=50", "--vary", f"design={','.join(names)}"
    )
    for name in names:
        assert re.search(rf"^{name} ", text, re.MULTILINE), name


def test_json_has_the_figures_under_design(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(
        capsys, "compare", "keyslot-contention", "--set", "ios=100", "--vary",
        "design=fscrypt-per-file,key-setup-v1", "--json", "-",
    )  # fmt: skip
    first, second = (point["result"]["design"] for point in json.loads(text)["points"])

    assert first["violations"] == {}
    assert sum(second["violations"].values()) == 2 * 100
    assert first.keys() == second.keys()
    assert first["on_disk_bytes_per_file"] == 40
    assert first["seen"] == {"equal_units": 0, "equal_rewrites": 1, "parts_kept": 255, "reused_ivs": 1}


def test_a_plain_run_has_the_figures_it_always_had(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "run", "keyslot-contention", "--set", "ios=50", "--json", "-")
    assert set(json.loads(text)["design"]) == {"on_disk_bytes", "in_memory_bytes", "derivations", "files"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_s_own_comparison_runs(question: str) -> None:
    small = {
        "extents-heavy-versus-light": ("ios=20", "files=2", "layout.file_size=64k", "layout.extent=64k"),
        "inline-data": ("ios=100",),
    }
    points = run_grid(question, sets=small.get(question, ("ios=100",)))

    assert len(points) >= 4
    for point in points:
        assert point.result is not None, point.refused
        assert all(point.result.checks.values())
        assert point.result.mismatches == 0


def test_every_question_is_answered_by_designs_of_the_list() -> None:
    for question in QUESTIONS:
        assert set(load_scenario(question).vary["keys.design"]) <= set(DESIGNS)


@pytest.mark.parametrize("of", [STAGES, *FIGURES])
def test_every_figure_is_drawn_the_same_again(points: list[Point], of: str, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        plot_points(points, of, str(tmp_path / name))
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_what_can_be_drawn_is_what_the_command_offers() -> None:
    assert (STAGES, *FIGURES) == PLOTTED


def test_numbers_are_drawn_as_lines_over_what_varies_fastest(tmp_path: Path) -> None:
    vary = {"keys.design": ("extents-lightweight",), "design.key_extent": ("64k", "1M")}
    target = tmp_path / "lines.svg"
    plot_points(run_grid("keyslot-contention", vary, sets=("ios=50",)), "programs", str(target))

    words = re.findall(r"<text[^>]*>([^<]*)</text>", target.read_text())
    assert {"64k", "1M", "key extent", "keyslot programs per I/O"} <= set(words)
