"""Numbers that are none: in gradients, in losses, in checkpoints, in the weights that finetuning starts from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from faults.world import Row, World, is_one_line
from nan_gradient import NanGradient

from roberta_lab.data.batch import Batch
from roberta_lab.model import checkpoint
from roberta_lab.training.module import PretrainingModule


def breaking(step: int, in_loss: bool) -> Callable[[], None]:
    """Return what makes, in a child, the gradient or the loss of a step NaN."""

    def install() -> None:
        whole = PretrainingModule.training_step

        def broken(module: PretrainingModule, batch: Batch, batch_idx: int) -> torch.Tensor:
            loss = whole(module, batch, batch_idx)
            if module.trainer.global_step + 1 != step:
                return loss
            return loss * float("nan") if in_loss else NanGradient.apply(loss)

        PretrainingModule.training_step = broken  # type: ignore[method-assign]

    return install


def nan_gradients(world: World, tries: int) -> list[Row]:
    """Break a step: one line with step and examples, no NaN on disk; then leave it out, as a run of its own."""
    rows = []
    for index in range(tries):
        step, outputs = world.draw.randint(1, 24), world.outputs()
        code, child = world.run(world.pretrain(outputs), breaking(step, bool(index % 2)))
        right = code == 1 and is_one_line(child) and f"step {step} was not taken" in child.message
        [file] = outputs.glob("pretrain/*/nonfinite-*.json")
        right &= bool(json.loads(file.read_text())["examples"]) and _all_finite(outputs)
        skipped, _ = world.run(world.pretrain(outputs, "trainer.on_nonfinite=skip"), breaking(step, bool(index % 2)))
        results = [json.loads(file.read_text()) for file in outputs.glob("pretrain/*/result.json")]
        right &= skipped == 0 and [one["num_skipped"] for one in results] == [1] and _all_finite(outputs)
        for run in {file.parent for file in outputs.glob("pretrain/*/result.json")}:
            world.discard(run)  # of the skipping run
        rows.append(Row("NaN gradient", right and world.ends_whole(outputs), code, child.message))
        world.discard(outputs)
    return rows


def _all_finite(outputs: Path) -> bool:
    saved = map(checkpoint.load, outputs.rglob("step-*.ckpt"))
    return all(
        checkpoint.is_finite(one["state_dict"]) and checkpoint.is_finite(one["optimizer_states"]) for one in saved
    )


def nan_checkpoints(world: World, tries: int) -> list[Row]:
    """Put a NaN into the newest checkpoint of a stopped run, sealed as if it were right: the one before it is taken."""
    rows = []
    for _ in range(tries):
        outputs = world.outputs()
        world.run(world.pretrain(outputs), breaking(18, True))
        newest = max(outputs.rglob("step-*.ckpt"))
        saved = checkpoint.load(newest)
        name = world.draw.choice([name for name, tensor in saved["state_dict"].items() if tensor.is_floating_point()])
        saved["state_dict"][name].view(-1)[-1] = float(world.draw.choice(["nan", "inf"]))
        checkpoint.save(saved, newest)
        code, child = world.run(world.pretrain(outputs))
        said = next((line for line in child.text.splitlines() if "no numbers" in line), "")
        rows.append(Row("NaN in a checkpoint", code == 0 and bool(said) and world.is_same(outputs), code, said))
        world.discard(outputs)
    return rows


def nan_weights(world: World, tries: int) -> list[Row]:
    """Export the reference run, put a NaN into its weights, and finetune, evaluate, predict from the folder: one line each."""
    from safetensors.torch import load_file, save_file

    folder, rows = world.folder / "exported", list[Row]()
    world.run(["export", *world.words, f"paths.outputs={world.reference}", f"export.path={folder}"])
    task = ["task=text_classification", f"task.path={_task(world.folder / 'task')}", "task.metric=accuracy"]
    tensors = load_file(folder / "model.safetensors")
    for index in range(tries):
        name = world.draw.choice([name for name in tensors if "position_ids" not in name])
        broken = {key: tensor.clone() for key, tensor in tensors.items()}
        broken[name].view(-1)[0] = float("nan")
        save_file(broken, folder / "model.safetensors", metadata={"format": "pt"})
        words = (["finetune", *task], ["predict", "predict.text=a <mask>"])[index % 2]
        outputs = world.outputs()
        command = [*words, *world.words, f"pretrained.path={folder}", f"paths.outputs={outputs}"]
        code, child = world.run(command)
        rows.append(Row("NaN in given weights", code == 2 and is_one_line(child), code, child.message))
        world.discard(outputs)
    world.discard(folder)
    return rows


def _task(folder: Path) -> Path:
    """Write a task of two labels, and return its folder."""
    folder.mkdir(exist_ok=True)
    for split, number in (("train", 40), ("dev", 20)):
        lines = [f"the value {i} of part {i % 7},{'even' if i % 2 else 'odd'}" for i in range(number)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return folder
