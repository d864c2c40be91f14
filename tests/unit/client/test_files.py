"""Results as files: plain learner.load() reads them, tables have adaptive's columns and the learner's name."""

from pathlib import Path

import adaptive
import pandas as pd
import pytest

from adaptive_fabric.files import check_table_path, dataframe, save_learners, write_table
from fabric_broker.errors import StoreError, UsageError


def linear(x: float, slope: float = 2.0) -> float:
    return slope * x


def filled(n: int = 10) -> adaptive.Learner1D:
    learner = adaptive.Learner1D(linear, (-1, 1))
    adaptive.runner.simple(learner, npoints_goal=n)
    return learner


def test_saved_learners_are_read_by_plain_load(tmp_path: Path) -> None:
    names = ["a=1/b=2", "../ä"]
    learners = [filled(5), filled(9)]

    paths = save_learners(tmp_path / "out", names, learners)

    assert paths[0] == tmp_path / "out" / "a=1/b=2"
    assert all(path.is_relative_to(tmp_path / "out") for path in paths)
    for path, learner in zip(paths, learners, strict=True):
        fresh = adaptive.Learner1D(linear, (-1, 1))
        fresh.load(path)
        assert fresh.data == learner.data
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"cannot write .*file/x"):
        save_learners(tmp_path / "file", ["x"], [filled()])


def test_a_table_has_adaptives_columns_and_the_name() -> None:
    table = dataframe(["one", "two", "none"], [filled(5), filled(7), filled(0)])

    assert list(table.columns) == ["x", "y", "function.slope", "learner"]
    assert table.groupby("learner").size().to_dict() == {"one": 5, "two": 7}


def test_a_table_of_learners_without_data_is_empty() -> None:
    table = dataframe(["one"], [filled(0)])

    assert len(table) == 0
    assert "learner" in table.columns


def test_a_function_without_a_signature_makes_no_trouble() -> None:
    learner = adaptive.Learner1D(max, (-1, 1))
    learner.tell(0.0, 1.0)

    assert list(dataframe(["max"], [learner]).columns) == ["x", "y", "learner"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_come_back(tmp_path: Path, suffix: str) -> None:
    table = dataframe(["a=1/b=2"], [filled(5)])

    path = write_table(table, tmp_path / f"data{suffix}")

    read = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


@pytest.mark.parametrize("name", ["data.xlsx", "data", "data.csv.gz", "gone/data.csv"])
def test_a_table_that_we_do_not_write_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        check_table_path(tmp_path / name)


def test_data_that_parquet_cannot_hold_are_reported_and_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_text("old")

    with pytest.raises(StoreError, match=r"try \.csv"):
        write_table(pd.DataFrame({"y": [1 + 2j, 3j]}), path)

    assert path.read_text() == "old"
