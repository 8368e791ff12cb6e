"""What an objective draws: the same for an example and an epoch, however a step is cut."""

from dataclasses import replace

import numpy as np
import pytest
from test_pretraining import Store, make

from roberta_lab.axes.examples import Rows, Vocabulary
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.axes.rng import hashed, uniform
from roberta_lab.data.datamodule import PretrainingData


@pytest.mark.parametrize("name", FORMATS)
def test_what_an_objective_draws_does_not_depend_on_the_cut(name: str) -> None:
    """A field that is drawn from the keys: each input has its own, in any micro-batch; a new one each epoch and seed."""

    def drawn(rows: Rows, seen: np.ndarray, labels: np.ndarray, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
        assert rows.keys is not None
        return {
            "drawn": uniform(hashed(0, rows.keys[:, None], np.arange(seen.shape[1])[None])),
            "key": uniform(rows.keys),
        }

    def found(size: int, seed: int = 1) -> list[dict[float, list[float]]]:
        """Of each step, the draws of each input, by its key."""
        config, steps = replace(make(size, input_format=name, masking="dynamic"), seed=seed), []
        data = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59)), fields=drawn)
        for step in range(6):
            steps.append({})
            passes = data.micro_batches.per_step
            for batch in (data.micro_batches[step * passes + i] for i in range(passes)):
                parts = batch["fields"]["drawn"].tensor_split(batch["cu_seq_lens"][1:-1].long())
                steps[-1] |= {float(k): part.tolist() for k, part in zip(batch["fields"]["key"], parts, strict=True)}
        held_out = [batch["fields"]["drawn"].tolist() for batch in data.validation_batches()]
        return [*steps, {0.0: held_out[0]}]

    whole = found(8)
    assert found(2) == found(1) == whole and len({key for step in whole[:-1] for key in step}) >= 6 * 8
    other = found(8, seed=2)
    assert not whole[0].keys() & other[0].keys() and whole[-1] == other[-1]
