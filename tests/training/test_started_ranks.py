"""Processes that srun or torchrun has started take part in runs, on one machine or two, and end together, whoever dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch.distributed as dist
from small_run import SMALL, own_text

from roberta_lab.cli import main
from roberta_lab.config import ConfigError, TrainerConfig, starters
from roberta_lab.config.processes import stat
from roberta_lab.config.starters import Place
from roberta_lab.runs.tracking import read
from roberta_lab.training import following, started_ranks
from roberta_lab.training.devices import on_cuda

MEETING = [sys.executable, str(Path(__file__).with_name("started_meeting.py"))]


def by_srun(rank: int, number: int, nodes: int = 1, port: int = 0) -> dict[str, str]:
    """The variables that srun gives to a process."""
    found = {"SLURM_STEP_ID": 0, "SLURM_STEP_NUM_TASKS": number, "SLURM_PROCID": rank, "SLURM_JOB_ID": 7}
    found |= {"SLURM_LOCALID": rank % (number // nodes), "SLURM_STEP_NUM_NODES": nodes}
    return {
        **{name: str(value) for name, value in found.items()},
        "SLURM_STEP_NODELIST": "localhost",
        **({"MASTER_PORT": str(port)} if port else {}),
    }


def environment(more: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL", **more}


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def started(command: list[str], number: int, nodes: int = 1) -> list[subprocess.Popen[str]]:
    """As srun would start them."""
    port = free_port()
    return [
        subprocess.Popen(
            command,
            env=environment(by_srun(rank, number, nodes, port)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]


def ended(processes: list[subprocess.Popen[str]], seconds: float = 60) -> tuple[list[int], list[str]]:
    """Their exit codes, and what each printed, without torch's warnings. One that is stopped is killed in its turn.

    torchrun's own log is left out too: its last node to end may find the first gone, and says so. Codes tell what failed."""
    deadline, said = time.monotonic() + seconds, []
    for process in processes:
        if (state := stat(process.pid)) is not None and state.is_stopped:
            process.kill()
        try:
            out, error = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, error = process.communicate()
        lines = [line for line in error.splitlines() if line.startswith("roberta-lab:") or "Error" in line]
        lines = [line for line in lines if "/torch/distributed/elastic/" not in line]
        said.append("\n".join([*out.splitlines(), *lines]))
    return [process.returncode for process in processes], said


# ---------------------------------------------------------------- what tools say
@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a", "a"), ("a,b", "a"), ("gpu[007-009,012]", "gpu007"), ("n[3,5]-ib,m1", "n3-ib"), ("r1-gpu2,r2", "r1-gpu2")],
)
def test_the_first_node_of_srun_is_rank_0s(nodes: str, first: str) -> None:
    said = {**by_srun(5, 8, 2), "SLURM_STEP_NODELIST": nodes}
    found = starters.place(said)
    assert found is not None and found[:6] == ("srun", 8, 5, 1, 2, first)
    assert found.port == (starters.place({**said, "SLURM_PROCID": "0"}) or found).port, "the same for all of a step"
    assert found.port != (starters.place({**said, "SLURM_STEP_ID": "1"}) or found).port


def test_names_of_nodes_with_two_numbers_need_an_address() -> None:
    with pytest.raises(ConfigError, match=r"MASTER_ADDR must name the first"):
        starters.place({**by_srun(5, 8, 2), "SLURM_STEP_NODELIST": "r[1-2]n[3-4]"})
    found = starters.place({**by_srun(5, 8, 2), "SLURM_STEP_NODELIST": "r[1-2]n[3-4]", "MASTER_ADDR": "r1n3"})
    assert found is not None and found.host == "r1n3"


def test_torchruns_variables_and_none_of_a_tool() -> None:
    said = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "GROUP_WORLD_SIZE": "2"}
    said |= {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert starters.place(said) == Place("torchrun", 4, 3, 1, 2, "10.0.0.1", 29500)
    assert starters.place({**said, "WORLD_SIZE": "1"}) is None
    assert starters.place({"WORLD_SIZE": "4", "RANK": "3"}) is None, "somebody else's variables"
    with pytest.raises(ConfigError, match=r"torchrun .* not whole \('RANK'\)\. Needed: WORLD_SIZE, RANK,"):
        starters.place({name: value for name, value in said.items() if name != "RANK"})


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (TrainerConfig(devices=4), r"4 processes on 2 machine\(s\), but .*trainer.nodes=2 trainer.devices=2\.$"),
        (TrainerConfig(devices=4, nodes=2), r"Allowed: trainer=ddp trainer.nodes=2 trainer.devices=2\.$"),
        (TrainerConfig(devices=2, nodes=2), None),
    ],
)
def test_other_processes_than_a_run_asks_for_are_refused(trainer: TrainerConfig, said: str | None) -> None:
    own = starters.place(by_srun(3, 4, 2))
    assert own is not None
    if said is None:
        own.check(trainer)
        with pytest.raises(ConfigError, match=r"number 0 of its machine.*distribution=block"):
            own._replace(local_rank=0).check(trainer)  # numbered in turn
    else:
        with pytest.raises(ConfigError, match=said):
            own.check(trainer)


def test_several_machines_need_a_tool_that_starts_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["pretrain", "trainer.nodes=2", "trainer.devices=4", "batch_size.sequences=16"]) == 2
    assert "srun --nodes=2 --ntasks-per-node=4 roberta-lab pretrain" in capsys.readouterr().err


def test_what_ranks_are_handed_is_of_their_own_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches the store's port may name any file."""
    monkeypatch.setattr(following, "SEEN_SECONDS", 0.0)
    with pytest.raises(ConfigError, match=r"not seen from this machine: paths.outputs must lie"):
        following._read(tmp_path / ".ranks.pickle.7")
    for name, mode in (("model.bin", 0o600), (".ranks.pickle.7", 0o660)):
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
        (tmp_path / name).chmod(mode)
        with pytest.raises(ConfigError, match="not a file that only this user can read and write"):
            following._read(tmp_path / name)
    (tmp_path / ".ranks.pickle.8").symlink_to("model.bin")
    with pytest.raises(OSError):
        following._read(tmp_path / ".ranks.pickle.8")
    assert not Path("hacked").exists()


def test_a_machine_without_the_gpu_that_rank_0_has_is_named() -> None:
    work = started_ranks.Work((print, ()), TrainerConfig(), [], not on_cuda("auto"), "")
    with pytest.raises(
        ConfigError, match=r"accelerator=auto: rank 0 has .* that torch can use\. Allowed: the same on all"
    ):
        following._check_device(work)
    following._check_device(work._replace(cuda=on_cuda("auto")))


# ---------------------------------------------------------------- how they end
def test_ranks_that_were_started_in_another_folder_find_rank_0s_files(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "note").touch()
    folders, port = [tmp_path, tmp_path / "elsewhere"], free_port()
    processes = [
        subprocess.Popen(
            [*MEETING, ".", "look at a file"],
            env=environment(by_srun(rank, 2, 1, port)),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, folder in enumerate(folders)
    ]
    assert ended(processes) == ([0, 0], ["look at a file: 8 by 2", ""])


def test_rank_0_may_start_long_after_torchruns_store(tmp_path: Path) -> None:
    """The store is that of torchrun's agent, so the others reach it at once."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    tool = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "GROUP_WORLD_SIZE": "1"}
    tool |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2"}
    processes: list[subprocess.Popen[str]] = []
    for rank in (1, 0):
        process = subprocess.Popen(
            [*MEETING, str(tmp_path), "first is late"],
            env=environment({**tool, "RANK": str(rank), "LOCAL_RANK": str(rank)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.insert(0, process)
        while rank and not store.check(["roberta-lab none /sign/1"]):
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(2.5)
    assert ended(processes) == ([0, 0], ["first is late: 8 by 2", ""])


def test_a_signal_while_the_others_have_not_started_ends_rank_0_in_one_line() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "roberta_lab", "pretrain", "--help"],
        env=environment({**by_srun(0, 2, 1, free_port()), "PYTHONUNBUFFERED": "1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline()
    time.sleep(1)  # from here on it waits for the other
    process.send_signal(signal.SIGUSR1)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 138 and error.count("\n") == 1 and error.startswith("roberta-lab: "), error


def test_one_run_after_the_other_and_an_error_that_all_have(tmp_path: Path) -> None:
    whats = ["not handed over", "meet", "all raise", "work alone"]
    codes, said = ended(started([*MEETING, str(tmp_path), *whats], 2))
    assert codes == [0, 0], said
    assert said[0].startswith("all: [Errno 2] No such file") and said[1] == "", "rank 0 prints for all"
    assert said[0].splitlines()[1:] == ["meet: 8 by 2", "all: on all ranks", "work alone: 8 by 2"]
    assert [*tmp_path.iterdir()] == [], "and the file that was handed over is gone"


@pytest.mark.parametrize(
    ("what", "code", "why"),
    [
        ("raise", 1, r" ended: ValueError: something is wrong here; the same command goes on"),
        ("be killed", -signal.SIGKILL, r"rank 2 of 3 (process "),
        ("be stopped", -signal.SIGKILL, r"gave no sign for 3 seconds; the same command goes on"),
        ("sleep", 1, r"hangs: the others wait for it, for "),
    ],
)
def test_a_rank_that_is_gone_or_hangs_ends_all_and_is_named(tmp_path: Path, what: str, code: int, why: str) -> None:
    codes, said = ended(started([*MEETING, str(tmp_path), "meet", what], 3), 25)
    assert codes == [1, 1, code], said
    assert why in said[0] and "rank 2 of 3" in said[0] and said[0].count("roberta-lab:") == 1
    assert said[1] == ""


def test_a_rank_that_hangs_in_a_run_that_rank_0_has_ended_is_waited_for_by_no_other(tmp_path: Path) -> None:
    codes, said = ended(started([*MEETING, str(tmp_path), "first raises", "meet"], 2), 25)
    assert codes == [1, 1]
    assert " ended: it hung in a run that rank 0 had ended; the same command" in said[0] and said[1] == ""


def test_the_others_end_when_rank_0_is_gone(tmp_path: Path) -> None:
    codes, said = ended(started([*MEETING, str(tmp_path), "first is killed"], 3), 25)
    assert codes == [-signal.SIGKILL, 1, 1]
    assert said[1].startswith("roberta-lab: rank 0 ") and said[2] == "", "one of them says so"


def test_a_signal_ends_all_and_rank_0_has_its_code(tmp_path: Path) -> None:
    assert ended(started([*MEETING, str(tmp_path), "be asked", "meet"], 3)) == ([138, 0, 0], ["", "", ""])


# ---------------------------------------------------------------- whole commands
@pytest.fixture
def two_machines() -> Iterator[list[list[str]]]:
    """The beginnings of commands on two machines with a cable between them: network namespaces, where this user may have some."""
    names, addresses = [f"lab{os.getpid()}{side}" for side in "ab"], ["10.99.7.1/24", "10.99.7.2/24"]
    if shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", names[0]], capture_output=True).returncode:
        pytest.skip("no network namespaces can be made here (ip netns, as root)")
    try:
        subprocess.run(["ip", "netns", "add", names[1]], check=True)
        ends = ["eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1]]
        subprocess.run(["ip", "link", "add", *ends], check=True)
        for name, address in zip(names, addresses, strict=True):
            for words in (
                ["link", "set", "lo", "up"],
                ["addr", "add", address, "dev", "eth0"],
                ["link", "set", "eth0", "up"],
            ):
                subprocess.run(["ip", "-n", name, *words], check=True)
        yield [["ip", "netns", "exec", name] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def pretraining(folder: Path, outputs: str, *overrides: str) -> list[str]:
    settings = [
        *SMALL,
        *own_text(folder),
        "batch_size.sequences=8",
        "batch_size.steps=6",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
    ]
    settings += ["model.dropout=0", "model.attention_dropout=0", "trainer.micro_batch_size=2"]
    return ["pretrain", *settings, f"paths.outputs={folder / outputs}", f"paths.cache={folder / 'cache'}", *overrides]


def test_two_machines_with_two_processes_each_do_what_one_process_does(
    tmp_path: Path, two_machines: list[list[str]]
) -> None:
    """By torchrun; two runs of a sweep, each made once."""
    assert main.main(pretraining(tmp_path, "one", "-m", "masking=static,dynamic")) == 0
    words = pretraining(
        tmp_path, "four", "-m", "masking=static,dynamic", "trainer=ddp", "trainer.nodes=2", "trainer.jobs=2"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"]
    torchrun += ["--master-addr=10.99.7.1", "--master-port=29500"]
    nodes = [
        subprocess.Popen(
            [*machine, *torchrun, f"--node-rank={number}", "-m", "roberta_lab", *words],
            env=environment({"GLOO_SOCKET_IFNAME": "eth0"}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, machine in enumerate(two_machines)
    ]
    codes, said = ended(nodes, 100)
    assert codes == [0, 0], said
    assert said[0].count("held-out perplexity") == 2 and said[1] == ""
    found = {
        path.parent.name: read(path) for path in tmp_path.glob("*/pretrain/*/metrics.jsonl") if "four" in str(path)
    }
    expected = {path.parent.name: read(path) for path in tmp_path.glob("one/pretrain/*/metrics.jsonl")}
    assert len(expected) == 2 and found.keys() == expected.keys()
    for name, rows in found.items():
        assert len(rows) == len(expected[name]) > 6
        for row, other in zip(rows, expected[name], strict=True):
            assert row == pytest.approx(other, rel=1e-5), name
    [cut] = json.loads(next(tmp_path.glob("four/pretrain/*/result.json")).read_text())["cuts"]
    assert (cut["devices"], cut["accumulation"]) == (4, 1)


def test_a_mistake_is_said_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "roberta_lab", *pretraining(tmp_path, "x", "trainer=ddp", "trainer.devices=4")]
    codes, said = ended(started(command, 2))
    assert codes == [2, 0] and said[1] == ""
    assert said[0].endswith("Allowed: trainer=ddp trainer.nodes=1 trainer.devices=2."), said[0]
