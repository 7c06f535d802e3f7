"""The references of scenario files, device files and results say what the program reads and writes."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwmodel.device import Device
from scenarios.files.document import Document, canonical
from scenarios.files.overrides import put
from scenarios.load import load_scenario
from scenarios.reference import pages
from scenarios.report.json import run_object
from scenarios.run import run
from scenarios.schema import Scenario

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
STRUCTS = {"scenario.md": Scenario, "device.md": Device}
FILES = {"scenario.md": ROOT / "scenarios" / "catalog", "device.md": ROOT / "hwmodel" / "devices"}
SAMPLES = {"size": "4k", "duration": "80us", "rate": "1MB/s"}


def tables(text: str) -> dict[str, list[list[str]]]:
    """Section -> its table's rows, cell by cell.  Sections are called as in TOML; the top level is ``""``."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
        found["" if title == "Top level" else title.strip("`[]")] = cells[2:]
    return found


def names(cell: str) -> list[str]:
    """The names in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def keys(page: str) -> Iterator[tuple[str, str, str, str]]:
    """Every key of a page: section, short spelling, full name, and its kind."""
    for section, table in tables(pages()[page]).items():
        for key, kind, *_ in (row for row in table if len(row) == 4):
            yield section, names(key)[0], names(key)[-1], kind


@pytest.mark.parametrize("page", STRUCTS)
def test_the_pages_in_the_repository_are_the_ones_made_from_the_structs(page: str) -> None:
    text = (FOLDER / page).read_text(encoding="utf-8")
    assert text == pages()[page], "run: python -m scenarios.reference docs/reference"


@pytest.mark.parametrize("page", STRUCTS)
def test_every_key_of_a_shipped_file_is_on_its_page(page: str) -> None:
    known = {f"{section}.{name}".lstrip(".") for section, *spellings, _ in keys(page) for name in spellings}
    used = {
        f"{section}.{key}" if section else key
        for file in FILES[page].glob("*.toml")
        for section, key in _keys_of(tomllib.loads(file.read_text(encoding="utf-8")))
    }
    assert used - known == set()


def _keys_of(data: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Section and key of a file's values; a scenario's changes to its device are the device page's."""
    for key, value in data.items():
        if isinstance(value, dict) and key not in ("vary", "device"):
            yield from ((key, inner) for inner in value)
        yield "", key


@pytest.mark.parametrize("page", STRUCTS)
def test_a_key_is_read_under_the_short_spelling_that_its_page_shows(page: str) -> None:
    for section, short, full, kind in keys(page):
        sample = next((text for word, text in SAMPLES.items() if re.match(rf"(figure: )?{word}", kind)), None)
        if sample is None:
            continue
        data: dict[str, object] = {}
        put(data, f"{section}.{short}", sample)
        read: object = canonical(Document("page", data), _as_lists(data, page), STRUCTS[page])
        assert full in str(read), f"{section}.{short}"


def _as_lists(data: dict[str, object], page: str) -> dict[str, object]:
    """``data`` with lists of tables where the page's headings have double brackets."""
    titles = re.findall(r"^## `\[\[(\w+)\.(\w+)\]\]`", pages()[page], re.MULTILINE)
    for outer, inner in titles:
        table = data.get(outer)
        if isinstance(table, dict) and inner in table:
            table[inner] = [table[inner]]
    return data


def test_a_default_on_the_page_is_the_one_that_counts(tmp_path: Path) -> None:
    plain = 'name = "x"\nquestion = "y"\ndevice = "null-blk"\n[workload]\nios = 1\n[run]\nqueue_depth = 1\n'
    (tmp_path / "plain.toml").write_text(plain + '[keys]\nengine = "fallback"\n')
    sets = [
        f"{section}.{names(key)[-1]}={names(default)[0]}"
        for section, table in tables(pages()["scenario.md"]).items()
        for key, _, default, _ in (row for row in table if len(row) == 4)
        if section in ("layout", "block", "run") and names(default) and "queue_depth" not in key
    ]
    path = str(tmp_path / "plain.toml")
    assert len(sets) > 15
    assert load_scenario(path, sets=sets) == load_scenario(path)


def test_the_example_of_a_scenario_is_one(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", pages()["scenario.md"], re.DOTALL)
    assert example is not None
    (tmp_path / "example.toml").write_text(example[1])
    scenario = load_scenario(str(tmp_path / "example.toml"))
    assert scenario.device.keyslots is not None
    assert scenario.device.keyslots.count.value == 16


def test_a_meaning_is_the_field_s_line_in_the_docstring() -> None:
    row = next(row for row in tables(pages()["scenario.md"])["keys"] if row[0] == "`type`")
    assert row == ["`type`", "`raw`, `hw-wrapped`", '`"raw"`', "raw or hardware-wrapped master keys"]


@pytest.mark.parametrize("page", STRUCTS)
def test_every_key_says_what_it_means_or_is_in_the_words_above_its_table(page: str) -> None:
    for part in re.split(r"^## ", pages()[page], flags=re.MULTILINE)[1:]:
        prose = part.partition("\n|")[0]
        for table in tables(f"## {part}").values():
            for key, *_, meaning in (row for row in table if len(row) == 4):
                assert meaning or any(f"`{name}`" in prose for name in names(key)), (
                    f"{part.splitlines()[0]}: {key}"
                )


def test_the_page_on_results_has_every_key_of_a_result_and_no_other() -> None:
    result = run_object(run(load_scenario("wrapped-versus-raw", sets=["ios=50", "run.warmup=0"])))
    text = (FOLDER / "result.md").read_text(encoding="utf-8")
    split, _, distribution = text.partition("\nA distribution:\n")
    distribution, _, keyslots = distribution.partition("\n## ")
    shown = tables(f"{split}\n## {keyslots}")
    direction = result["all"]
    assert isinstance(direction, dict)
    assert _first_column(shown["The object"]) == set(_object_keys(result))
    assert _first_column(shown["A direction"]) == set(direction)
    assert _first_column(tables(f"## \n{distribution}")[""]) == set(direction["lat_ns"])
    assert _first_column(shown["keyslots"]) == set(_table(result, "keyslots"))


def test_the_page_on_results_has_every_figure_of_a_design() -> None:
    result = run_object(run(load_scenario("keyslot-contention", sets=["ios=20", "design=dm-crypt"])))
    shown = tables((FOLDER / "result.md").read_text(encoding="utf-8"))["design"]
    assert _first_column(shown) == set(_table(result, "design"))


def _first_column(table: list[list[str]]) -> set[str]:
    return {name for row in table for name in names(row[0])}


def _object_keys(result: dict[str, object]) -> Iterator[str]:
    """Dotted keys of a result; what is described as a whole, or maps from names that vary, is one key."""
    for key in result:
        if key in ("blkcrypto", "config", "totals", "cpu", "data", "design"):
            yield from (f"{key}.{inner}" for inner in _table(result, key))
        else:
            yield key


def _table(result: dict[str, object], key: str) -> dict[str, object]:
    table = result[key]
    assert isinstance(table, dict)
    return table
