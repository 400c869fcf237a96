"""A Slurm of this machine alone, for tests: started and stopped here, with files and ports of its own.

It has two nodes, both of this machine, under the two names that it has; partition `all`, the default, holds the first,
partition `two` both.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=2
NodeName={host} NodeHostname={host} NodeAddr=127.0.0.1 Port={first_port} CPUs=4 RealMemory=4000 State=UNKNOWN
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 Port={second_port} CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=two Nodes={host},localhost MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Return why no Slurm can be started here, '' when it can."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if absent:
        return f"no {' '.join(absent)} on this machine (Debian: apt install slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "a Slurm of its own is started by root only"


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start munge, controller and node in `folder`; give the environment for calls; stop them at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(64))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    ports = {f"{name}_port": free_port() for name in ("controller", "first", "second")}
    conf.write_text(CONF.format(host=host, folder=folder, **ports))
    environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (("key-file", "key"), ("socket", "socket"))]
    munge += [f"--{name}={folder}/munge.{end}" for name, end in (("pid-file", "pid"), ("log-file", "log"))]
    commands = [
        ["munged", "--foreground", "--force", *munge, f"--seed-file={folder}/munge.seed"],
        ["slurmctld", "-D", "-f", conf],
        *(["slurmd", "-D", "-N", node, "-f", conf] for node in (host, "localhost")),
    ]
    daemons = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.{len(daemons)}.out").open("w") as output:
                daemons.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
            time.sleep(0.5)
        wait_for_node(folder, environment, daemons)
        yield environment
    finally:
        if len(daemons) == len(commands):
            stop_jobs(environment)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def stop_jobs(environment: dict[str, str]) -> None:
    """Cancel all jobs and wait until they are gone, half a minute at most."""
    subprocess.run(["scancel", "--user=root"], env=environment, check=False)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True).stdout:
            return
        time.sleep(0.3)


def wait_for_node(folder: Path, environment: dict[str, str], daemons: list[subprocess.Popen]) -> None:
    """Return when the node takes jobs; RuntimeError with the daemons' last words when it does not in a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and all(daemon.poll() is None for daemon in daemons):
        words = ["sinfo", "-h", "-p", "two", "-o", "%T %D"]
        states = subprocess.run(words, env=environment, capture_output=True, text=True)
        if states.stdout.strip() == "idle 2":
            return
        time.sleep(0.5)
    words = "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("*.out")))
    raise RuntimeError(f"Slurm did not start:\n{words}")
