"""A job is composed and identified once, whoever asks for it: the sweeper, Hydra's resolver of its folder, the command."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from composed_jobs import config
from small_run import WHOLE

from roberta_lab.cli import launched, main
from roberta_lab.runs import compose, composition, identity, jobs
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import parse

SMALL = ["logger.wandb=off", "trainer.jobs=1", "hydra/launcher=basic"]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that commands got; nothing is trained."""
    found: list[Job] = []
    monkeypatch.setattr(launched, "main_of", lambda name: found.append)
    return found


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each typed config that is built, and for each id that is hashed."""
    counts = [0, 0]
    build, directory = compose.build, jobs.identity.directory

    def counted_build(tree):
        counts[0] += 1
        return build(tree)

    def counted_directory(*arguments):
        counts[1] += 1
        return directory(*arguments)

    for module in (composition, jobs):
        monkeypatch.setattr(module, "build", counted_build)
    monkeypatch.setattr(jobs.identity, "directory", counted_directory)
    return counts


def test_a_single_run_is_built_and_hashed_once(ran: list[Job], builds: list[int]) -> None:
    assert main.main(["pretrain", "masking=static", "logger.wandb=off"]) == 0
    assert builds == [1, 1] and [job.words for job in ran] == [["masking=static", "logger.wandb=off"]]
    assert ran[0].path.name == ran[0].path.name and ran[0].config.masking.name == "static"


def test_each_run_of_a_grid_is_built_and_hashed_once(ran: list[Job], builds: list[int]) -> None:
    assert main.main(["pretrain", "-m", "masking=static,dynamic", "seed=1,2", *SMALL]) == 0
    assert builds == [4, 4]
    assert len({job.path for job in ran}) == 4 and {job.seed for job in ran} == {1, 2}


def test_runs_of_a_sweep_share_what_is_composed(ran: list[Job], builds: list[int]) -> None:
    """Eighteen finetuning runs have two rows and three tasks: six typed configs and the sweep's own."""
    assert main.main(["finetune", "sweep=table1_masking", *WHOLE, "model.dropout=0.2", *SMALL]) == 0
    assert len(ran) == 18 and builds[0] <= 7 and builds[1] == 18
    assert {job.row for job in ran} == {"static", "dynamic"}


def test_a_run_that_another_process_lets_leave_out_a_step_is_still_called_the_same(
    ran: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker composes it when it comes to it: since the command looked, its folder has become another."""

    def main_of(name: str) -> Callable[[Job], None]:
        def run(job: Job) -> None:
            ran.append(job)
            identity.without_steps(replace(job.config, seed=2)).mkdir(parents=True, exist_ok=True)
            jobs.forget()

        return run

    monkeypatch.setattr(launched, "main_of", main_of)
    assert main.main(["pretrain", "-m", "seed=1,2", "trainer.on_nonfinite=skip", *SMALL]) == 0
    assert [job.called for job in ran] == ["", ""] and ran[1].path == identity.without_steps(ran[1].config)


@pytest.mark.usefixtures("composing")
def test_a_job_is_what_its_words_compose_to() -> None:
    words = ["masking=static", "seed=3", "logger.wandb=off"]
    [job] = jobs.jobs_of("pretrain", parse(words))
    assert job.config == config(*words) and job.label == "segment_pair static seed 3"
    [tuned] = jobs.jobs_of("finetune", parse([*words, "task=pydoc_topic", "finetune.seed=2"]))
    assert tuned.label == "segment_pair static seed 3, pydoc_topic 2" and tuned.needs == (job.path,)


@pytest.mark.usefixtures("composing")
def test_a_job_of_a_grid_is_called_by_what_tells_it_from_the_others() -> None:
    """Also where only seeds do: it is not alone, and is called as usual."""
    [run] = jobs.jobs_of("pretrain", parse(["masking=static", "seed=3"]))
    assert run.is_alone and not any(replace(run, called=called).is_alone for called in ("", "masking=static"))
    labels = [replace(run, called=called).label for called in ("", "masking=static")]
    assert labels == ["segment_pair static seed 3", "masking=static seed 3"]
    [tuned] = jobs.jobs_of("finetune", parse(["pretrained=none", "task=pydoc_topic"]))
    labels = [replace(tuned, called=called).label for called in ("", "lr=1")]
    assert labels == ["random weights, pydoc_topic 1", "random weights, lr=1, pydoc_topic 1"]
