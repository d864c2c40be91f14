"""Templates that a home or a site has in place of ours: what they may do, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptive_fabric import pools
from fabric_broker import site
from fabric_broker.errors import UsageError
from fabric_broker.home import Home
from fabric_submitter.adapters.scheduler import Request
from fabric_submitter.scripts import check_templates, render
from fabric_submitter.specs import PBS, Local, Slurm

JOB = Request("iabc", "cpu", Slurm(partition="main"), ("iabc.0",))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").create()
    home.templates.mkdir()
    return home


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The templates of a site."""
    folder = tmp_path / "etc"
    (folder / "templates").mkdir(parents=True)
    monkeypatch.setattr(site, "SITE_FOLDER", folder)
    return folder / "templates"


def test_the_homes_template_comes_before_the_sites_and_that_before_ours(home, etc):
    assert render(home, JOB).startswith("#!/bin/sh\n#SBATCH --job-name=fab-iabc\n")
    (etc / "slurm.sh.j2").write_text("of the site, {{ spec.partition }}\n")
    assert render(home, JOB) == "of the site, main\n"
    (home.templates / "slurm.sh.j2").write_text("of the home, {{ pool }}\n")
    assert render(home, JOB) == "of the home, cpu\n"


def test_ours_can_be_extended_by_options_and_lines_before_the_preamble(home, etc):
    shipped = render(home, JOB)
    (etc / "slurm.sh.j2").write_text(
        '{% extends "shipped/slurm.sh.j2" %}\n{% block options %}\n#SBATCH --licenses=x\n{% endblock %}\n'
    )
    (etc / "keeper.sh.j2").write_text(
        '{% extends "shipped/keeper.sh.j2" %}{% block setup %}\n. /opt/site.sh\n{% endblock %}\n'
    )
    lines = render(home, JOB).splitlines()
    added = ["#SBATCH --licenses=x", ". /opt/site.sh"]
    assert [line for line in lines if line not in added] == shipped.splitlines()
    assert lines.index(added[0]) < lines.index("export FABRIC_HOME=" + str(home.path))
    assert lines[lines.index(added[1]) - 1] == "set -e"
    (etc / "keeper.sh.j2").unlink()
    assert ". /opt/site.sh" not in render(home, Request("iabc", "p", PBS(), ("iabc.0",)))


@pytest.mark.parametrize(
    ("name", "text", "line", "told"),
    [
        ("slurm", "#!/bin/sh\n\n{{ nosuch }}\n", 3, "'nosuch' is undefined"),
        ("slurm", "#!/bin/sh\n{{ spec.nosuch }}\n", 2, "nosuch"),
        ("slurm", "{% if pool %}\n{{ pool }\n{% endif %}", 2, "unexpected '}'"),
        ("slurm", "{% if pool %}\n", 1, "Unexpected end of template"),
        ("slurm", "\n\n{% include 'nosuch.sh.j2' %}", 3, "no template 'nosuch.sh.j2'"),
        ("slurm", "\n{{ 1 // 0 }}", 2, "zero"),
        ("slurm", "\n{{ spec.slots + pool }}", 2, "unsupported operand"),
        ("slurm", "{% extends 'slurm.sh.j2' %}", 1, "extends or includes itself"),
        ("keeper", "\n\n\n{{ nosuch }}", 4, "'nosuch' is undefined"),
        (
            "slurm",
            '{% extends "shipped/slurm.sh.j2" %}\n{% block options %}\n{{ no }}{% endblock %}',
            3,
            "'no'",
        ),
    ],
)
def test_a_template_that_cannot_be_used_is_named_with_its_line(home, etc, name, text, line, told):
    file = etc / f"{name}.sh.j2"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        render(home, JOB)
    assert str(refused.value).startswith(f"{file}:{line}: ")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_template_that_goes_wrong_for_arrays_alone_is_found_before_any_submit(home, etc):
    (etc / "slurm.sh.j2").write_text("{% if jobs | length > 1 %}\n{{ nosuch }}\n{% endif %}\n")
    render(home, JOB)
    with pytest.raises(UsageError, match=r"slurm\.sh\.j2:2: 'nosuch'"):
        check_templates(home, "cpu", JOB.spec)


def test_a_template_that_is_no_text_or_cannot_be_read_is_refused(home, etc):
    (etc / "slurm.sh.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"slurm\.sh\.j2: .*utf-8"):
        render(home, JOB)


def test_a_pool_is_refused_while_its_template_is_wrong(home, etc):
    (etc / "local.sh.j2").write_text("{{ nosuch }}")
    with pytest.raises(UsageError, match=r"local\.sh\.j2:1: 'nosuch'"):
        pools.check(home, "unix:///nowhere", Local())
