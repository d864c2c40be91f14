"""A file that defines learners is read; one that does not gets a line that says why."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from adaptive_fabric.script import MODULE, ScriptError, read_script
from fabric_broker.errors import UsageError

GOOD = """
import dataclasses
import adaptive
import beside_it

@dataclasses.dataclass
class Settings:
    scale: float = 2.0

def f(x, settings=Settings()):
    return beside_it.double(x) * settings.scale

print("hello")
learners = [adaptive.Learner1D(f, (-1, 1))]
names = ["one"]
goal = lambda learner: learner.npoints > 10

if __name__ == "__main__":
    raise SystemExit("guarded code must not run")
"""


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    module = sys.modules.pop(MODULE, None)
    sys.modules.pop("beside_it", None)
    if module is not None and MODULE in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(module)


def write(folder: Path, text: str) -> Path:
    (folder / "beside_it.py").write_text("def double(x):\n    return 2 * x\n")
    file = folder / "my sweep.py"
    file.write_text(text)
    return file


def test_learners_names_and_goal_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = read_script(write(tmp_path, GOOD))

    assert len(script.learners) == 1
    assert script.names == ["one"]
    assert callable(script.goal)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "hello\n"


def test_functions_of_the_file_travel_by_value_to_where_its_folder_is_on_the_path(tmp_path: Path) -> None:
    script = read_script(write(tmp_path, GOOD))
    pickle_file = tmp_path / "learners.pickle"
    pickle_file.write_bytes(cloudpickle.dumps(script.learners[0]))

    elsewhere = (
        "import sys, pathlib, cloudpickle; sys.path.append(sys.argv[1]);"
        "print(cloudpickle.loads(pathlib.Path(sys.argv[2]).read_bytes()).function(3))"
    )
    done = subprocess.run(
        [sys.executable, "-c", elsewhere, tmp_path, pickle_file], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "12.0\n", done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nraise ValueError('no\\nluck')", r"my sweep.py raised ValueError: no luck \(line 2\)"),
        ("import sys\nsys.exit(3)", r"raised SystemExit: 3 \(line 2\)"),
        ("x = 1\ndef f(:", r"raised SyntaxError: .*\(line 2\)"),
        ("\n\nimport not_a_module", r"raised ModuleNotFoundError: .* \(line 3\)"),
    ],
)
def test_a_file_that_raises_is_reported_with_the_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ScriptError, match=says) as caught:
        read_script(write(tmp_path, text))
    assert caught.value.exit_code == 1


def test_a_file_without_learners_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="defines no learners"):
        read_script(write(tmp_path, "goal = 3"))


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_script(tmp_path / "nothing.py")
