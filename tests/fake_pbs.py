"""A PBS for tests: its commands on PATH, answering as OpenPBS 23.06 was seen to, with real processes behind them.

`install` puts them into a folder; run as a program it is one of those commands. Jobs start at once, `slots` of them
at a time; `down` in the folder makes the server unreachable. Each job runs under a mom process of its own.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KILL_AFTER = 3.0
COMMANDS = ("qsub", "qstat", "qdel", "qsig", "pbsnodes")
REFUSED = "Connection refused\n{}: cannot connect to server login1 (errno=15010)"


def install(folder: Path, *, slots: int = 16, history: bool = True) -> None:
    (folder / "bin").mkdir(parents=True)
    for name in COMMANDS:
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        script.chmod(0o755)
    _write(folder, {"next": 0, "slots": slots, "history": history, "jobs": {}})


def records(folder: Path) -> dict[str, Any]:
    """All jobs there ever were."""
    jobs: dict[str, Any] = json.loads((folder / "state.json").read_text())["jobs"]
    return jobs


def living(folder: Path) -> list[str]:
    return [
        its_id for its_id, job in records(folder).items() if job["job_state"] in "QRE" and "[]" not in its_id
    ]


def qdel_all(folder: Path) -> None:
    """Delete whatever lives, as its owner could."""
    subprocess.run([folder / "bin" / "qdel", *living(folder)], check=True, timeout=30)


def forget_ended(folder: Path) -> None:
    """As a server does when its history is old enough."""
    with state_of(folder) as state:
        state["jobs"] = {its_id: job for its_id, job in state["jobs"].items() if job["job_state"] in "QR"}


def fail_node(folder: Path, its_id: str, *, rerun: bool) -> None:
    """Kill -9 the mom of a job whose processes run on; the server takes the job for dead, or runs it a second time."""
    with state_of(folder) as state:
        job = state["jobs"][its_id]
        os.kill(job["mom"], signal.SIGKILL)
        job["lost"] = [*job.get("lost", []), job.pop("session_id")]
        if rerun:
            job.update(job_state="Q", run_count=2)
        elif state["history"]:
            job.update(job_state="X" if "array_index" in job else "F", Exit_status=-20)
        else:
            del state["jobs"][its_id]
    start_more(folder)


def set_slots(folder: Path, slots: int) -> None:
    """How many jobs may run at a time from now on."""
    with state_of(folder) as state:
        state["slots"] = slots
    start_more(folder)


def stop(folder: Path) -> None:
    """Kill whatever runs."""
    for job in records(folder).values():
        for pid in (job.get("mom"), job.get("session_id"), *job.get("lost", ())):
            if pid and _alive(pid):
                os.killpg(pid, signal.SIGKILL)


def _write(folder: Path, state: dict[str, Any]) -> None:
    draft = folder / "state.new"
    draft.write_text(json.dumps(state))
    draft.replace(folder / "state.json")


@contextmanager
def state_of(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        yield state
        _write(folder, state)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- the commands ---------------------------------------------------------------------------------------------


def fail(code: int, text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.exit(code)


def answer(kind: str, found: dict[str, Any]) -> None:
    head: dict[str, Any] = {"timestamp": int(time.time()), "pbs_version": "23.06.06", "pbs_server": "login1"}
    print(json.dumps(head | ({kind: found} if found else {}), indent="\t"))


def qsub(folder: Path, args: list[str]) -> None:
    split = args.index("--")
    options, command = args[:split], args[split + 1 :]
    given = {name: value for name, value in itertools.pairwise(options) if name.startswith("-")}
    resources = dict(part.split("=", 1) for flag, part in itertools.pairwise(options) if flag == "-l")
    if given.get("-q", "workq") not in ("workq", "short"):
        fail(170, "qsub: Unknown queue")
    if len(given["-N"]) > 15 or not re.fullmatch(r"[\w-]+", given["-N"]):
        fail(2, "qsub: illegal -N value")
    with state_of(folder) as state:
        number, state["next"] = state["next"], state["next"] + 1
        record = {
            "Job_Name": given["-N"],
            "job_state": "Q",
            "walltime": resources.get("walltime"),
            "command": command,
        }
        if "-J" in given:
            state["jobs"][f"{number}[].login1"] = record | {"job_state": "B"}
            for place in range(int(given["-J"].split("-")[1]) + 1):
                state["jobs"][f"{number}[{place}].login1"] = record | {"array_index": place}
        else:
            state["jobs"][f"{number}.login1"] = record
    print(f"{number}[].login1" if "-J" in given else f"{number}.login1")
    start_more(folder)


def start_more(folder: Path) -> None:
    with state_of(folder) as state:
        running = sum(job["job_state"] in "RE" for job in state["jobs"].values())
        for its_id, job in state["jobs"].items():
            if job["job_state"] == "Q" and running < state["slots"]:
                running += 1
                job["job_state"] = "R"
                command = [sys.executable, __file__, str(folder), "mom", its_id]
                null = subprocess.DEVNULL
                mom = subprocess.Popen(command, start_new_session=True, stdin=null, stdout=null, stderr=null)
                job["mom"] = mom.pid


def mom(folder: Path, args: list[str]) -> None:
    (its_id,) = args
    with state_of(folder) as state:
        job = state["jobs"][its_id]
        env = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
        env |= {"PBS_JOBID": its_id}
        if "array_index" in job:
            env["PBS_ARRAY_INDEX"] = str(job["array_index"])
        process = subprocess.Popen(job["command"], env=env, start_new_session=True)
        job["session_id"] = process.pid
    limit = None
    if job["walltime"]:
        hours, minutes, seconds = map(int, job["walltime"].split(":"))
        limit = hours * 3600 + minutes * 60 + seconds
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        end_session(process.pid)
        process.wait()
        code = -29
    with state_of(folder) as state:
        job = state["jobs"][its_id]
        code = 271 if job.get("deleted") else code
        job.update(
            job_state="X" if "array_index" in job else "F",
            Exit_status=code if code >= 0 or code == -29 else 265,
        )
        if not state["history"]:
            del state["jobs"][its_id]
    start_more(folder)


def end_session(leader: int) -> None:
    """TERM to all processes of a session, KILL later."""
    for number, wait in ((signal.SIGTERM, KILL_AFTER), (signal.SIGKILL, 0.0)):
        for pid in session(leader):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        until = time.monotonic() + wait
        while session(leader) and time.monotonic() < until:
            time.sleep(0.02)


def kill_session(leader: int) -> None:
    """As when their node loses power."""
    while left := session(leader):
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == leader and _alive(int(entry.name)):
                found.append(int(entry.name))
        except ProcessLookupError:
            continue
    return found


def each_known(folder: Path, command: str, ids: list[str]) -> list[str]:
    known = records(folder)
    for its_id in ids:
        if its_id not in known:
            sys.stderr.write(f"{command}: Unknown Job Id {its_id}\n")
    return [its_id for its_id in ids if its_id in known]


def qdel(folder: Path, args: list[str]) -> None:
    found = each_known(folder, "qdel", args)
    with state_of(folder) as state:
        for its_id in found:
            job = state["jobs"][its_id]
            if job["job_state"] == "Q":
                job.update(job_state="F", Exit_status=271)
            job["deleted"] = True
    for its_id in found:
        job = records(folder).get(its_id, {})
        if job.get("job_state") == "R" and os.fork() == 0:
            os.setsid()
            devnull = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(devnull, descriptor)
            end_session(job["session_id"])
            os._exit(0)
    sys.exit(0 if found or not args else 153)


def qsig(folder: Path, args: list[str]) -> None:
    for its_id in each_known(folder, "qsig", args[2:]):
        job = records(folder)[its_id]
        if job["job_state"] != "R":
            fail(168, f"qsig: Request invalid for state of job {its_id}")
        for pid in session(job["session_id"]):
            os.kill(pid, getattr(signal, args[1]))


def qstat(folder: Path, args: list[str]) -> None:
    if "-Bf" in args:
        state = json.loads((folder / "state.json").read_text())
        server = {"total_jobs": len(state["jobs"]), "query_other_jobs": "True", "max_array_size": 1000}
        server |= {"job_history_enable": str(state["history"]), "default_queue": "workq"}
        answer("Server", {"login1": server})
    elif "-Qf" in args:
        answer("Queue", {"workq": {}, "short": {"resources_max": {"walltime": "00:01:00"}}})
    else:
        jobs = records(folder)
        over = () if "-x" in args else ("F", "X")
        answer("Jobs", {its_id: job for its_id, job in jobs.items() if job["job_state"] not in over})


def pbsnodes(folder: Path, args: list[str]) -> None:
    node = {"resources_available": {"ncpus": 4, "mem": "2gb"}}
    answer("nodes", {f"v{place}": node for place in range(4)})


def main() -> None:
    folder, command, args = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if (folder / "down").exists() and command != "mom":
        fail(255 if command == "qstat" else 162, REFUSED.format(command))
    globals()[command](folder, args)


if __name__ == "__main__":
    main()
