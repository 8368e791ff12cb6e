PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed

.PHONY: demo test faults slurm lint clean

demo: $(STAMP)
	$(VENV)/bin/roberta-lab reproduce sweep=table1_masking

$(STAMP): requirements.lock torch.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; set PYTHON=python3.x"'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(VENV)/bin/pip install --quiet --requirement torch.lock
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

test: $(STAMP)
	$(VENV)/bin/python -m pytest -n auto

faults: $(STAMP)
	PYTHONPATH=tests:tests/support OMP_NUM_THREADS=1 $(VENV)/bin/python -m faults

slurm: $(STAMP)
	$(VENV)/bin/python -m pytest -m slurm tests/slurm

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info
