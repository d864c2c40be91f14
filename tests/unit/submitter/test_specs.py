"""Specs say what is wrong when they are made, and survive the way through a pool's record."""

import json
import pickle
from datetime import timedelta

import pytest

from fabric_broker.errors import SignatureError, UsageError
from fabric_broker.factory import opened
from fabric_broker.signing import Signer
from fabric_submitter.specs import Local, check_jobs, spec_from_dict


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"cores": 0}, "cores"),
        ({"cores": 1.5}, "cores"),
        ({"slots": True}, "slots"),
        ({"num_threads": 0}, "num_threads"),
        ({"ttl": 2.9}, "ttl"),
        ({"ttl": "0:00:02"}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"grace": -1}, "grace"),
        ({"idle_timeout": "60"}, "idle_timeout"),
        ({"executor": "threads"}, "executor"),
        ({"executor": "module:function()"}, "MODULE:FUNCTION"),
        ({"executor": {"name": "m:f"}}, "no factory"),
        ({"executor": 3}, "executor"),
        ({"executor": "mpi4py"}, "at least 2, since rank 0 manages"),
        ({"env": {"A B": "1"}}, "A B"),
        ({"env": {"A": 1}}, "A"),
        ({"env": {"FABRIC_JOB": "mine"}}, "FABRIC_JOB"),
        ({"env": ["A=1"]}, "env"),
        ({"preamble": "module load x"}, "preamble"),
        ({"preamble": ["one\ntwo"]}, "preamble"),
        ({"python": " "}, "python"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(values, names):
    with pytest.raises(UsageError, match=names):
        Local(**values)


@pytest.mark.parametrize("jobs", [-1, 1.0, True, "2", None])
def test_a_number_of_jobs_is_a_whole_number_and_not_negative(jobs):
    with pytest.raises(UsageError, match="jobs"):
        check_jobs(jobs)


def test_durations_are_taken_in_every_form_and_kept_in_seconds():
    spec = Local(ttl=timedelta(minutes=1), grace="0:02:00", idle_timeout=5)
    assert (spec.ttl, spec.grace, spec.idle_timeout) == (60.0, 120.0, 5.0)


def test_a_spec_comes_back_from_json_as_it_was():
    spec = Local(
        cores=2, slots=3, executor="loky", env={"A": "ä b"}, python="/usr/bin/python3", preamble=["x", "y"]
    )
    assert spec_from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_what_makes_an_executor_travels_signed_and_not_otherwise():
    signer = Signer(b"k" * 32, "default")
    spec = Local(executor=lambda: None)
    assert spec.executor_kind == "factory"
    with pytest.raises(UsageError, match="signed before it travels"):
        spec.to_dict()
    signed = spec.signed(signer)
    assert spec_from_dict(json.loads(json.dumps(signed.to_dict()))) == signed == signed.signed(signer)
    name, pickled = opened(signer, signed.to_dict()["executor"]["code"])
    assert name.endswith("<lambda>")
    assert pickle.loads(pickled)() is None
    with pytest.raises(SignatureError):
        opened(Signer(b"k" * 32, "another fabric"), signed.to_dict()["executor"]["code"])


def test_a_function_in_text_is_signed_as_well():
    signer = Signer(b"k" * 32, "default")
    spec = Local(executor="package.module:make").signed(signer)
    assert opened(signer, spec.to_dict()["executor"]["code"]) == ("package.module:make", b"")
    assert Local(executor="dask").signed(signer) == Local(executor="dask")


def test_a_table_without_a_kind_is_local():
    assert spec_from_dict({"slots": 2}) == Local(slots=2)


@pytest.mark.parametrize("kind", ["slurm2", 3, None])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(UsageError, match="kind"):
        spec_from_dict({"kind": kind})


def test_an_unknown_setting_is_named():
    with pytest.raises(UsageError, match="walltime"):
        spec_from_dict({"kind": "local", "walltime": 60})
