"""A SLURM of two nodes on the loopback device, from Debian's packages: brought up for tests in a folder, and taken down again."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb-install-db")
PACKAGES = "slurm-wlm slurmdbd munge mariadb-server"
NODES = ("lab1", "lab2")
SECONDS = 60.0  # in which a daemon answers

_SLURM = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounts}
AccountingStoragePass={folder}/munge.socket
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=4000
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
KillWait=10
OverTimeLimit=0
NodeName=lab1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node1} CPUs={cpus} RealMemory=16000 State=UNKNOWN
NodeName=lab2 NodeHostname={host} NodeAddr=127.0.0.1 Port={node2} CPUs={cpus} RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=lab[1-2] Default=YES MaxTime=1:00:00 State=UP
"""
_ACCOUNTS = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounts}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounts
"""


class RealSlurm:
    """A controller, two nodes, accounts and their database, each a process of its own in the foreground."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "MASTER_ADDR": "127.0.0.1"}
        self.daemons: list[subprocess.Popen[bytes]] = []
        ports = dict(zip(("controller", "node1", "node2", "accounts", "database"), _free_ports(5), strict=True))
        self.values = {
            **{"folder": folder, "user": getpass.getuser(), "host": socket.gethostname().partition(".")[0]},
            **{"cpus": max(2, os.cpu_count() or 1), **ports},
        }

    def up(self) -> None:
        """Start all daemons. Raises RuntimeError, with what a daemon said, when one does not answer."""
        for name in ("state", "spool-lab1", "spool-lab2", "database"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(_SLURM.format(**self.values))
        (self.folder / "slurmdbd.conf").write_text(_ACCOUNTS.format(**self.values))
        (self.folder / "slurmdbd.conf").chmod(0o600)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        socket_of, seed = self.folder / "munge.socket", self.folder / "munge.seed"
        files = [
            f"--key-file={key}",
            f"--socket={socket_of}",
            f"--seed-file={seed}",
            f"--pid-file={self.folder}/munged.pid",
        ]
        self._start("munged", "--foreground", "--force", *files)
        self._wait(lambda: socket_of.exists())
        self._start_database()
        self._start("slurmdbd", "-D")
        self._wait(lambda: self._asks("sacctmgr", "-n", "list", "cluster"))
        self._asks("sacctmgr", "-i", "add", "cluster", "lab")
        self._start("slurmctld", "-D", "-i")
        self._wait(lambda: self._asks("scontrol", "ping"))
        for node in NODES:
            self._start("slurmd", "-D", "-N", node)
        self._wait(self._is_idle)

    def down(self) -> None:
        """End exactly the daemons that were started, the last one first."""
        self._asks("scancel", "--user", str(self.values["user"]))
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def says(self, *command: str) -> str:
        """Return what a command of SLURM prints."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def _start_database(self) -> None:
        place = self.folder / "database"
        user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(place, "mysql")
            for parent in (self.folder, *self.folder.parents):
                parent.chmod(parent.stat().st_mode | 0o001)
                if parent == Path("/tmp"):
                    break
            user = ["--user=mysql"]
        install = [
            "mariadb-install-db",
            "--no-defaults",
            *user,
            f"--datadir={place}",
            "--auth-root-authentication-method=normal",
        ]
        subprocess.run(install, check=True, capture_output=True)
        listens = ["--bind-address=127.0.0.1", f"--port={self.values['database']}", f"--socket={place}/mysql.sock"]
        self._start("mariadbd", "--no-defaults", *user, f"--datadir={place}", *listens, "--innodb-buffer-pool-size=64M")
        client = ["mariadb", "--no-defaults", "-S", f"{place}/mysql.sock", "-uroot", "-e"]
        self._wait(lambda: self._asks(*client, "select 1"))
        grants = [
            f"create user slurm@'{host}' identified by 'slurm'; grant all on accounts.* to slurm@'{host}';"
            for host in ("127.0.0.1", "localhost")
        ]
        self.says(*client, f"create database accounts; {' '.join(grants)}")

    def _start(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.log", "ab") as log:
            daemon = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.daemons.append(daemon)

    def _asks(self, *command: str) -> bool:
        return subprocess.run(command, env=self.environment, capture_output=True).returncode == 0

    def _is_idle(self) -> bool:
        if {*self.says("sinfo", "--noheader", "--Node", "--format=%T").split()} == {"idle"}:
            return True
        self._asks("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")
        return False

    def _wait(self, is_there: Callable[[], bool]) -> None:
        name, deadline = str(self.daemons[-1].args[0]), time.monotonic() + SECONDS  # type: ignore[index]
        while not is_there():
            if self.daemons[-1].poll() is not None or time.monotonic() > deadline:
                said = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"{name} does not answer: {' '.join(said)}")
            time.sleep(0.2)


def missing() -> list[str]:
    """Return the programs that are not there."""
    return [name for name in NEEDED if shutil.which(name) is None]


def _free_ports(number: int) -> list[int]:
    places = [socket.socket() for _ in range(number)]
    for place in places:
        place.bind(("127.0.0.1", 0))
    ports = [place.getsockname()[1] for place in places]
    for place in places:
        place.close()
    return ports


if __name__ == "__main__":  # by hand: python tests/support/real_slurm.py FOLDER
    mine = RealSlurm(Path(sys.argv[1]).resolve())
    mine.folder.mkdir(parents=True)
    try:
        mine.up()
        input(f"export SLURM_CONF={mine.folder}/slurm.conf   # Enter ends it ")
    finally:
        mine.down()
