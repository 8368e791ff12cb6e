"""A fault in processes that tests start: Python imports this file first where its folder is on PYTHONPATH.

The variable FAULT is `NUMBER STEP WHAT`: when the NUMBERth run (0: each; in the order of its seeds) or rank ends its STEPth step,
it does WHAT: exit, kill, stop, sleep, loop.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time


def act(what: str) -> None:
    if what == "exit":
        os._exit(3)
    if what in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
    while what in ("sleep", "loop"):
        if what == "sleep":
            time.sleep(1000)


def patch_steps(module) -> None:
    which, at, what = os.environ["FAULT"].split()
    end = module.StepEnd.on_train_batch_end

    def faulty(self, trainer, own, outputs, batch, batch_idx):
        if which.startswith("rank"):
            is_it = which == f"rank{trainer.global_rank}" and trainer.world_size > 1
        else:
            is_it = which in ("0", str(self.config.seed))
        if is_it and trainer.global_step == int(at):
            act(what)
        return end(self, trainer, own, outputs, batch, batch_idx)

    module.StepEnd.on_train_batch_end = faulty


def patch_loader(module) -> None:
    which, at, what = os.environ["FAULT"].split()
    get = module.MicroBatches.__getitem__

    def faulty(self, i):
        from torch.utils.data import get_worker_info

        if which == "loader" and get_worker_info() is not None and i == int(at):
            act(what)
        return get(self, i)

    module.MicroBatches.__getitem__ = faulty


def patch_limit(module) -> None:
    module.HUNG_SECONDS = float(os.environ.get("FAULT_LIMIT", module.HUNG_SECONDS))


PATCHES = {
    "roberta_lab.data.loader_watch": patch_limit,
    "roberta_lab.training.step_end": patch_steps,
    "roberta_lab.data.datamodule": patch_loader,
}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def patched(module):
            run(module)
            PATCHES[name](module)

        spec.loader.exec_module = patched
        return spec


if os.environ.get("FAULT"):
    sys.meta_path.insert(0, Finder())
