# make demo: from nothing to pictures. make test: lint and the suite. Each makes .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache

.PHONY: demo test test-all lint clean

# Rebuilt when the requirements change; a torn installation leaves no stamp.
$(VENV)/.done: setup.cfg pyproject.toml
	@echo "== installing into $(VENV) (about a minute) =="
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vqjax needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on -e '.[data,test]'
	@touch $@

demo: $(VENV)/.done
	@echo "== training a VQGAN on scanned digits (about two minutes) =="
	$(BIN)/vqjax train experiments/digits_vqgan.py --workdir $(DEMO)/tokenizer
	@echo "== writing the report =="
	$(BIN)/vqjax report $(DEMO)/tokenizer --out $(DEMO)/index.html
	@echo "open $(CURDIR)/$(DEMO)/index.html"

lint: $(VENV)/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

test: lint
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-all: lint
	$(BIN)/python -m pytest -n 2 -m 'not timing'
	$(BIN)/python -m pytest -m timing

clean:
	rm -rf $(VENV) .jax_cache runs
