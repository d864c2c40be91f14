"""Signatures: whatever is changed, the bytes are refused; key files: 0600 or refused."""

import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric_broker.errors import KeyFileError, SignatureError, UsageError
from fabric_broker.signing import KEY_SIZE, Signer, create_key, create_secret, load_key, load_secret

KEY = bytes(range(32))
SIGNED = {"kind": "journal", "learner": "r1.7", "token": 5, "sequence": 9}


def sign(signer: Signer, body: bytes, **names) -> bytes:
    named = {**SIGNED, **names}
    return signer.sign(named.pop("kind"), body, **named)


def verify(signer: Signer, blob: bytes, **names) -> bytes:
    named = {**SIGNED, **names}
    return signer.verify(named.pop("kind"), blob, **named)


@given(st.binary(), st.text(), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_what_was_signed_comes_back(body, learner, token, sequence):
    signer = Signer(KEY, "f")
    names = {"learner": learner, "token": token, "sequence": sequence}
    assert verify(signer, sign(signer, body, **names), **names) == body


@pytest.mark.parametrize(
    "change", [{"kind": "task"}, {"learner": "r1.8"}, {"learner": ""}, {"token": 6}, {"sequence": 8}]
)
def test_bytes_signed_for_one_place_are_refused_at_another(change):
    signer = Signer(KEY, "f")
    with pytest.raises(SignatureError):
        verify(signer, sign(signer, b"body"), **change)


@pytest.mark.parametrize("other", [Signer(KEY, "g"), Signer(bytes(32), "f")])
def test_another_fabric_or_another_key_is_refused(other):
    with pytest.raises(SignatureError):
        verify(Signer(KEY, "f"), sign(other, b"body"))


def test_every_single_changed_byte_is_noticed():
    signer = Signer(KEY, "f")
    blob = sign(signer, b"some body")
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 1
        with pytest.raises(SignatureError):
            verify(signer, bytes(changed))


def test_truncated_or_lengthened_bytes_are_refused():
    signer = Signer(KEY, "f")
    blob = sign(signer, b"body")
    for wrong in (*(blob[:length] for length in range(len(blob))), blob + b"x", b"x" + blob):
        with pytest.raises(SignatureError):
            verify(signer, wrong)


def test_parts_that_join_to_the_same_text_have_different_signatures():
    # Without lengths in the encoding, ("ab", "c") and ("a", "bc") would be signed alike.
    words = ("", "a", "ab", "abc", "b", "bc", "c")
    made = {
        Signer(KEY, fabric).mac(kind, body.encode(), learner=learner)
        for fabric, kind, learner, body in itertools.product(words, repeat=4)
    }
    assert len(made) == len(words) ** 4


def test_the_error_names_the_kind_and_the_learner_and_nothing_is_unpickled():
    class Trap:
        def __reduce__(self):
            return (os._exit, (3,))

    forged = b"FAB1" + bytes(32) + pickle.dumps(Trap())
    with pytest.raises(SignatureError, match=r"journal of r1\.7"):
        verify(Signer(KEY, "f"), forged)


def test_a_mac_that_is_kept_elsewhere_protects_the_bytes_like_a_signature():
    signer = Signer(KEY, "f")
    mac = signer.mac("checkpoint", b"data", learner="r1.7", token=5, sequence=2)
    assert len(mac) == 64
    signer.check_mac("checkpoint", memoryview(b"data"), mac, learner="r1.7", token=5, sequence=2)
    wrong: list[tuple[str, bytes, str, dict[str, Any]]] = [
        ("checkpoint", b"Data", mac, {"learner": "r1.7", "token": 5, "sequence": 2}),
        ("checkpoint", b"data", mac, {"learner": "r1.7", "token": 5, "sequence": 3}),
        ("checkpoint", b"data", "", {"learner": "r1.7", "token": 5, "sequence": 2}),
        ("checkpoint", b"data", "é" * 64, {"learner": "r1.7", "token": 5, "sequence": 2}),
    ]
    for kind, data, given_mac, names in wrong:
        with pytest.raises(SignatureError):
            signer.check_mac(kind, data, given_mac, **names)


@pytest.mark.parametrize("token", [-1, 2**64])
def test_a_token_that_does_not_fit_is_a_usage_error(token):
    with pytest.raises(UsageError):
        sign(Signer(KEY, "f"), b"", token=token)


def test_the_key_shows_in_no_repr():
    signer = Signer(b"s3cret-key-with-enough-bytes-0000", "f")
    assert "s3cret" not in repr(signer)
    assert not hasattr(signer, "__dict__")


def test_a_short_key_is_refused():
    with pytest.raises(KeyFileError, match="32 bytes"):
        Signer(b"", "f")


def test_a_new_key_is_random_and_its_file_is_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        keys = [create_key(tmp_path / name) for name in ("a", "b")]
    finally:
        os.umask(before)
    assert keys[0] != keys[1]
    assert len(keys[0]) == KEY_SIZE
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path / "a") == keys[0]


def test_a_key_that_is_there_is_kept(tmp_path):
    assert create_key(tmp_path / "k") == create_key(tmp_path / "k")
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_many_processes_that_create_a_key_at_once_agree_on_it(tmp_path):
    program = (
        "import sys; from pathlib import Path; from fabric_broker.signing import create_key\n"
        "sys.stdin.read(1); print(create_key(Path(sys.argv[1])).hex())"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "k"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("x")
        racer.stdin.flush()
    assert len({racer.communicate(timeout=60)[0] for racer in racers}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644])
def test_a_key_file_open_to_others_is_refused_and_the_message_says_how_to_close_it(tmp_path, mode):
    path = tmp_path / "k"
    create_key(path)
    path.chmod(mode)
    for read in (load_key, load_secret, create_key, create_secret):
        with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
            read(path)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"zz" * 32, b"ab" * 31, b"ab" * 33, b"\xff" * 64, b"ab\ncd", bytes(5000)]
)
def test_a_malformed_key_file_is_refused_and_its_content_not_shown(tmp_path, content):
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as refused:
        load_key(path)
    assert str(path) in str(refused.value)
    assert "abab" not in str(refused.value)
    assert "zzzz" not in str(refused.value)


def test_a_missing_key_a_folder_and_a_device_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path, tmp_path / "none" / "k"):
        with pytest.raises(KeyFileError, match=str(path)):
            load_key(path)
    with pytest.raises(KeyFileError, match="not a regular file"):
        load_key(Path(os.devnull))


def test_a_key_that_cannot_be_written_is_a_clear_error(tmp_path):
    with pytest.raises(KeyFileError, match="cannot create"):
        create_key(tmp_path / "none" / "k")
