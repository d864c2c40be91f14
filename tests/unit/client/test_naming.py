"""Names come back as they went in, and no file leaves its folder."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_fabric.naming import check_run_name, file_names, learner_names
from fabric_broker.errors import UsageError

HARD = [
    "a=1/b=2",
    "näme ✓",
    " blank ",
    "..",
    ".",
    "/etc/passwd",
    "a",
    "a/b",
    "a/b/c",
    "a//b",
    "../x",
    "x/..",
    "~",
    "%",
]


def test_names_are_numbers_when_none_are_given() -> None:
    assert learner_names(None, 3) == ["0", "1", "2"]


def test_names_come_back_as_they_went_in() -> None:
    assert learner_names(HARD, len(HARD)) == HARD


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a", "b"], "2 names for 3 learners"),
        (["a", "b", "a"], "'a' is the name of learners 0 and 2"),
        (["a", "b", ""], "name 2 is empty"),
        (["a", "b", 3], "name 2 is a int"),
        (["a", "b", "\ud800"], "name 2 is not valid text"),
        (["a", "b", "x" * 5000], "name 2 is 5000 bytes"),
        ("abc", "one string"),
    ],
)
def test_names_that_do_not_fit_are_refused(names: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        learner_names(names, 3)


@pytest.mark.parametrize("name", ["", " x", "x\n", "rabcdefgh", "rabcdefgh.0", "x" * 300, 7])
def test_names_that_a_run_cannot_have_are_refused(name: Any) -> None:
    with pytest.raises(UsageError):
        check_run_name(name)


def test_a_run_may_have_a_name_with_slashes_blanks_and_umlauts() -> None:
    assert check_run_name("sweep/ä = 1") == "sweep/ä = 1"


def test_sound_names_are_kept_as_paths() -> None:
    assert [str(path) for path in file_names(["a=1/b=2", "näme ✓", "x.y"])] == ["a=1/b=2", "näme ✓", "x.y"]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(HARD),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
            st.text("./%a", min_size=1, max_size=5),
            st.text("a/", min_size=200, max_size=400),
        ),
        unique=True,
    )
)
def test_every_name_gets_a_file_of_its_own_inside_the_folder(names: list[str]) -> None:
    paths = file_names(names)

    folder = Path("/folder")
    files = [Path(folder / path) for path in paths]
    assert len(set(files)) == len(names)
    folders = {parent for file in files for parent in file.parents}
    for path, file in zip(paths, files, strict=True):
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert file != folder
        assert "\0" not in str(path)
        assert all(len(part.encode()) <= 255 for part in path.parts)
        assert file not in folders, "one learner's file is another one's folder"
