"""The fabric's home folder: every path in it, spelled here and nowhere else."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .errors import HomeError
from .signing import create_key, create_secret

HOME_VARIABLE = "FABRIC_HOME"

# A socket does not work and an append-only file is not safe on these.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs"}
    | {"panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "wekafs"}
    | {"fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.s3fs", "fuse.sshfs"}
)


class Home:
    """A fabric's folder: keys, the server's address and lock, job scripts, logs, and the default store."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()

    @classmethod
    def find(cls, explicit: str | Path | None = None, env: Mapping[str, str] | None = None) -> Home:
        """Return the home that was named, else `$FABRIC_HOME`, else the user's state folder."""
        named = explicit or (os.environ if env is None else env).get(HOME_VARIABLE)
        if named:
            return cls(named)
        import platformdirs  # here because most callers name a home

        return cls(platformdirs.user_state_path("adaptive-fabric"))

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Home) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def work_key(self) -> Path:
        """The key of client and jobs: payloads, journal batches, checkpoints."""
        return self.path / "work.key"

    @property
    def control_key(self) -> Path:
        """The key of client and submitter: tasks."""
        return self.path / "control.key"

    @property
    def password_file(self) -> Path:
        """The Redis password."""
        return self.path / "redis.password"

    @property
    def web_token(self) -> Path:
        """What a browser has to show to `fabric-tui --web`."""
        return self.path / "web.token"

    @property
    def config_file(self) -> Path:
        """The user's settings, TOML; need not exist."""
        return self.path / "config.toml"

    @property
    def templates(self) -> Path:
        """The user's own templates of job scripts; need not exist."""
        return self.path / "templates"

    @property
    def server_file(self) -> Path:
        """Where the embedded server listens; agents read it at each reconnect."""
        return self.path / "server.json"

    @property
    def server_lock(self) -> Path:
        """Which process on which host is the embedded server."""
        return self.path / "server.lock"

    @property
    def up_flock(self) -> Path:
        """Held while a server is being started or stopped."""
        return self.path / "up.flock"

    @property
    def submitter_file(self) -> Path:
        """Which process is the submitter."""
        return self.path / "submitter.json"

    @property
    def store(self) -> Path:
        """The default store."""
        return self.path / "store"

    @property
    def logs(self) -> Path:
        """One log per job, the submitter's and the server's."""
        return self.path / "logs"

    @property
    def submitter_log(self) -> Path:
        """What the submitter says."""
        return self.logs / "submitter.log"

    @property
    def redis_log(self) -> Path:
        """What the embedded server says."""
        return self.logs / "redis.log"

    @property
    def jobs(self) -> Path:
        """The job scripts."""
        return self.path / "jobs"

    def job_log(self, job: str) -> Path:
        """What a job printed."""
        return self.logs / f"{job}.log"

    def job_script(self, intent: str) -> Path:
        """The script that was submitted for an intent."""
        return self.jobs / f"{intent}.sh"

    def run_dir(self, setting: Path | None = None) -> Path:
        """Return the folder of the embedded server's socket and append-only file; it must be on a local disk.

        `setting` is the configured folder, in which each home has one of its own: two servers must not share
        data. Without it: `run` in the home, or, when the home lies on a network file system, a folder of this
        home's own in /var/tmp of this host.
        """
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        if setting is not None:
            return setting / f"fabric-{digest}"
        mounts = Path("/proc/self/mountinfo")
        text = mounts.read_text(errors="surrogateescape") if mounts.exists() else ""
        if file_system(self.path, text) not in _NETWORK_FILE_SYSTEMS:
            return self.path / "run"
        return Path(f"/var/tmp/fabric-{os.getuid()}-{digest}")  # noqa: S108  (whoever uses it checks its owner)

    def create(self) -> Home:
        """Make what is missing of the folder (0700), its subfolders and keys; check that it can be written.

        Raises
        ------
        HomeError
            The folder cannot be made or written.
        KeyFileError
            A key is there but malformed or open to others.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.jobs, self.store):
                folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"\n")
        except OSError as error:
            raise HomeError(
                f"cannot write the fabric's home {self.path}: {error.strerror}; "
                f"make it writable, or name another with --home or ${HOME_VARIABLE}"
            ) from error
        for key in (self.work_key, self.control_key):
            create_key(key)
        create_secret(self.password_file)
        return self


def file_system(path: Path, mountinfo: str) -> str | None:
    """Return the type of the file system that `path` lies on, given the text of /proc/self/mountinfo."""
    resolved = path.resolve()
    best: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        # Blanks in a mount point are written as \040; a later mount on the same point hides the earlier one.
        point = Path(fields[4].encode(errors="surrogateescape").decode("unicode_escape"))
        depth = len(point.parts)
        if resolved.is_relative_to(point) and (best is None or depth >= best[0]):
            best = (depth, after.split(" ", 1)[0])
    return best[1] if best else None
