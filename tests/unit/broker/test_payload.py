"""A run's payload says where its functions are at home before anything is unpickled."""

import pickle

import pytest

from fabric_broker.errors import BrokerError
from fabric_broker.payload import RunPayload


def test_a_payload_comes_back_as_it_was_packed() -> None:
    payload = RunPayload("/home/ü x", ("/home/ü x", "/lib"), {"ntasks": 2}, pickle.dumps({"goal": 200}))

    assert RunPayload.unpack(payload.pack()) == payload


def test_a_payload_is_read_without_unpickling_its_functions() -> None:
    payload = RunPayload("/", (), functions=b"not a pickle")

    assert RunPayload.unpack(payload.pack()).functions == b"not a pickle"


@pytest.mark.parametrize(
    "body", [b"", b"\x09\x00\x00\x00{}", b"\x02\x00\x00\x00{}rest", b"\x02\x00\x00\x00[]"]
)
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(BrokerError):
        RunPayload.unpack(body)
