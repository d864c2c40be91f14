"""Results as files and tables: one file per learner, or all data in one table."""

from __future__ import annotations

import gzip
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric_broker.errors import MissingExtraError, StoreError, UsageError

from .children import number_of
from .naming import file_names

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".parquet", ".csv")
"""The kinds of table that `write_table` writes, by the end of the file's name."""


def save_learners(
    folder: str | Path,
    names: Sequence[str],
    learners: Iterable[Any],
    children_names: Callable[[int], Sequence[str] | None] = lambda _: None,
) -> list[Path]:
    """Write one file per learner, as plain ``learner.save`` does, but loudly when that fails.

    Parameters
    ----------
    children_names
        The names of the children of the BalancingLearner with this index; None: they are numbered.
    """
    import cloudpickle

    base = Path(folder).expanduser().absolute()
    paths: list[Path] = []
    for index, (own, learner) in enumerate(zip(file_names(names), learners, strict=True)):
        count = number_of(learner)
        files, parts = [str(own)], [learner]
        if count is not None:
            files = list(children_names(index) or (f"{own}/{number}" for number in range(count)))
            parts = learner.learners
        for file, part in zip(files, parts, strict=True):
            blob = gzip.compress(cloudpickle.dumps(part._get_data()))
            _write(base / file, partial(_put, blob), make_folders=True)
            paths.append(base / file)
    return paths


def dataframe(names: Sequence[str], learners: Iterable[Any]) -> pd.DataFrame:
    """One table of all learners' data: adaptive's columns and "learner"."""
    pandas = _pandas()
    tables = []
    for name, learner in zip(names, learners, strict=True):
        part = _table_of(learner)
        part["learner"] = name
        tables.append(part)
    filled = [part for part in tables if len(part)] or tables
    table: pd.DataFrame = pandas.concat(filled, ignore_index=True)
    return table


def check_table_path(path: str | Path) -> Path:
    """The path, if it ends like a table that we write; UsageError."""
    found = Path(path).expanduser()
    if found.suffix not in TABLES:
        raise UsageError(f"{path}: cannot write a {found.suffix or 'nameless'} file; use .parquet or .csv")
    if not found.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {found.parent}")
    if found.is_dir():
        raise UsageError(f"{path} is a folder")
    return found


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as .parquet or .csv; what was there is replaced only when the new file is whole."""
    target = check_table_path(path)
    if target.suffix == ".csv":
        _write(target, lambda draft: table.to_csv(draft, index=False))
        return target
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise MissingExtraError(_missing("pyarrow", "write parquet", "dataframe")) from None
    try:
        _write(target, lambda draft: table.to_parquet(draft, engine="pyarrow", index=False))
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise StoreError(f"{target}: parquet cannot hold these data ({_line(error)}); try .csv") from error
    return target


def _table_of(learner: Any) -> pd.DataFrame:
    try:
        table: pd.DataFrame = learner.to_dataframe()
    except ValueError:  # the function has no signature to read default arguments from, as many of C have none
        table = learner.to_dataframe(with_default_function_args=False)
    return table


def _put(blob: bytes, draft: Path) -> None:
    draft.write_bytes(blob)


def _write(path: Path, write: Callable[[Path], object], *, make_folders: bool = False) -> None:
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or _line(error)}") from error


def _pandas() -> Any:
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise MissingExtraError(_missing("pandas", "make tables", "dataframe")) from None
    return pd


def _missing(package: str, purpose: str, extra: str) -> str:
    return f"{package} is needed to {purpose}: pip install 'adaptive-fabric[{extra}]'"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
