"""Specs of batch jobs: what contradicts itself is named, what the scheduler is told is one word."""

import json

import pytest

from fabric_broker.errors import UsageError
from fabric_broker.home import Home
from fabric_submitter.adapters.pbs import selection
from fabric_submitter.adapters.scheduler import Request
from fabric_submitter.scripts import EXAMPLE, render
from fabric_submitter.specs import PBS, Slurm, spec_from_dict


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"walltime": 30}, "walltime.*grace"),
        ({"walltime": "1 h"}, "walltime"),
        ({"walltime": 60, "grace": 5, "min_lease_time": 55}, "min_lease_time"),
        ({"min_lease_time": 5}, "walltime"),
        ({"memory": "4"}, "memory"),
        ({"memory": "0GB"}, "memory"),
        ({"nodes": 2, "cores": 2, "slots": 2}, "one slot"),
        ({"nodes": 2, "cores": 3}, "divided"),
        ({"nodes": 2, "cores": 2, "executor": "loky"}, "loky"),
        ({"nodes": 0}, "nodes"),
        ({"gpus": -1}, "gpus"),
        ({"exclusive": 1}, "exclusive"),
        ({"partition": "a b"}, "partition"),
        ({"partition": "-x"}, "partition"),
        ({"account": "a\nb"}, "account"),
        ({"qos": 3}, "qos"),
        ({"constraint": "x;y"}, "constraint"),
        ({"directives": ["--job-name=mine"]}, "job-name itself"),
        ({"directives": ["-J mine"]}, "J itself"),
        ({"directives": ["-N2"]}, "N itself"),
        ({"partition": "main", "directives": ["-p other"]}, "partition='main'"),
        ({"walltime": 3600, "directives": ["--time=5"]}, "walltime"),
        ({"directives": ["reservation=x"]}, "write an option"),
        ({"directives": ["--x='"]}, "directive"),
        ({"directives": "--x"}, "directives"),
        ({"directives": ["--x\n#SBATCH -J y"]}, "one line"),
    ],
)
def test_what_cannot_be_is_named(values, names):
    with pytest.raises(UsageError, match=names):
        Slurm(**values)


@pytest.mark.parametrize("executor", ["dask", "ipyparallel"])
def test_only_srun_starts_workers_on_several_nodes(executor):
    assert Slurm(nodes=2, cores=4, executor=executor).cores_per_node == 2
    with pytest.raises(UsageError, match=f"the workers of {executor} are all on one node in a pbs job"):
        PBS(nodes=2, cores=4, executor=executor)


def test_ranks_of_one_learner_are_spread_evenly_over_nodes():
    assert Slurm(executor="mpi4py", nodes=2, cores=8).cores_per_node == 4
    assert selection(PBS(executor="mpi4py", nodes=2, cores=8)) == "2:ncpus=4:mpiprocs=4"
    with pytest.raises(UsageError, match="cannot be divided"):
        Slurm(executor="mpi4py", nodes=2, cores=3)


def test_slurm_is_asked_for_a_task_for_each_rank(home):
    script = render(
        home, Request(EXAMPLE, "p", Slurm(executor="mpi4py", cores=4, slots=2), (f"{EXAMPLE}.0",))
    )
    assert "#SBATCH --ntasks-per-node=8\n" in script
    assert "cpus-per-task" not in script


def test_a_directive_may_set_what_the_spec_leaves_open():
    assert Slurm(directives=["-p other", "--reservation=x"]).directives == ("-p other", "--reservation=x")


def test_memory_is_kept_in_one_unit():
    assert [Slurm(memory=text).memory for text in ("4GB", "1.5G", "500 mb", "1K")] == [
        "4096MB",
        "1536MB",
        "500MB",
        "1MB",
    ]


def test_a_spec_comes_back_from_json_as_it_was():
    spec = Slurm(
        partition="main", walltime="1:00:00", directives=["--x"], preamble=["a"], memory="1GB", cores=2
    )
    assert spec_from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_the_script_says_what_the_spec_says(tmp_path):
    spec = Slurm(
        partition="main",
        walltime=90,
        grace=5,
        nodes=2,
        cores=4,
        memory="1GB",
        gpus=1,
        directives=["--reservation=x"],
    )
    home = Home(tmp_path / "it's 100%")
    script = render(home, Request("iabc", "p.1", spec, ("iabc.0", "iabc.1")))
    lines = script.splitlines()
    assert lines[0] == "#!/bin/sh"
    for line in (
        "#SBATCH --job-name=fab-iabc",
        "#SBATCH --comment=p.1",
        "#SBATCH --array=0-1",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=2",
        "#SBATCH --partition=main",
        "#SBATCH --time=0:01:30",
        "#SBATCH --mem=1024MB",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --reservation=x",
        "#SBATCH --signal=B:USR1@5",
    ):
        assert line in lines
    assert "100%%/logs/iabc.%a.log" in script
    end = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    assert not [line for line in lines[end:] if line.startswith("#SBATCH")]
