"""Commands that write results: results, save."""

from __future__ import annotations

import click

from .opening import Opening, opening
from .output import note


@click.command()
@click.argument("run")
@click.option("-o", "--output", required=True, metavar="FILE", help="FILE.parquet or FILE.csv")
@opening
def results(start: Opening, run: str, output: str) -> None:
    """Write all data of RUN as one table: adaptive's columns and "learner"."""
    from adaptive_fabric.files import check_table_path, write_table

    check_table_path(output)
    with start.fabric() as fabric:
        table = fabric.run(run).to_dataframe()
    path = write_table(table, output)
    note(f"{len(table)} rows in {path}")


@click.command()
@click.argument("run")
@click.argument("folder", type=click.Path(file_okay=False))
@opening
def save(start: Opening, run: str, folder: str) -> None:
    """Save each learner of RUN to FOLDER/NAME, for plain learner.load()."""
    with start.fabric() as fabric:
        paths = fabric.run(run).save(folder)
    note(f"{len(paths)} {'file' if len(paths) == 1 else 'files'} in {folder}")
