# make demo: from nothing to pictures. make test: lint and the suite. Each makes .venv by itself.
# make storm: kills, damage, several processes (thirteen minutes on two cores).
# make dist: the wheel and the source archive, checked, and the wheel tried outside the checkout.
# make parity: the quantizers beside those of vector-quantize-pytorch, LPIPS beside the package
# lpips, spectra beside torch and librosa, and tokenizers of published form beside diffusers and
# transformers, recorded anew; and what is exported, opened by diffusers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Torch is never where vqjax is: it has an environment of its own.
PARITY := .venv-parity
DIST := .venv-dist
# A file's tests share what they compile, so they stay in one process.
SUITE := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
DEMO := runs/demo
PROMPTS := $(foreach number,zero one two three four five six seven,--prompt "a $(number)") --prompt "an eight" --prompt "a nine"
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache

.PHONY: demo test test-all storm lint parity pretrained dist clean

# Rebuilt when the requirements change; a torn installation leaves no stamp.
$(VENV)/.done: setup.cfg pyproject.toml
	@echo "== installing into $(VENV) (about a minute) =="
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vqjax needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on -e '.[data,test]'
	@touch $@

demo: $(VENV)/.done
	@echo "== training a VQGAN on scanned digits (about two minutes) =="
	$(BIN)/vqjax train digits_vqgan --arg total_steps=600 --workdir $(DEMO)/tokenizer
	@echo "== training a text-conditional prior over its tokens (about two minutes) =="
	$(BIN)/vqjax train digits_text_to_image --arg tokenizer=$(DEMO)/tokenizer --arg total_steps=1000 --workdir $(DEMO)/prior
	@echo "== training a codec of short melodies (about a minute and a half) =="
	$(BIN)/vqjax train tones_codec --workdir $(DEMO)/codec
	@echo "== training one model of digits, melodies and words (about three minutes) =="
	$(BIN)/vqjax train digits_any_to_any_embedded --arg image=$(DEMO)/tokenizer --arg audio=$(DEMO)/codec --workdir $(DEMO)/joint
	@echo "== drawing to order =="
	$(BIN)/vqjax sample $(DEMO)/prior -n 60 --guidance 2 $(PROMPTS)
	$(BIN)/vqjax edit $(DEMO)/prior --mask bottom -n 8
	@echo "== writing the report =="
	$(BIN)/vqjax report $(DEMO)/prior $(DEMO)/joint $(DEMO)/tokenizer $(DEMO)/codec --out $(DEMO)/index.html
	@echo "open $(CURDIR)/$(DEMO)/index.html"

lint: $(VENV)/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/shellcheck tpu_scripts/*.sh .ci/run

test: lint
	$(SUITE) -m 'not slow and not storm'

test-all: lint
	$(SUITE) -m 'not timing and not storm'
	$(MAKE) storm
	$(BIN)/python -m pytest -m timing

storm: $(VENV)/.done
	$(BIN)/python -m pytest -m storm

$(PARITY)/.done: Makefile
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install --progress-bar on torch==2.13.0
	$(PARITY)/bin/python -m pip install --progress-bar on vector-quantize-pytorch==1.32.0 librosa==0.11.0 safetensors numpy scipy tqdm
	$(PARITY)/bin/python -m pip install --progress-bar on --no-deps lpips==0.1.4
	$(PARITY)/bin/python -m pip install --progress-bar on diffusers==0.42.1 transformers==5.24.0
	@touch $@

parity: $(VENV)/.done $(PARITY)/.done
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(PARITY)/bin/python tests/parity/record.py "$$fresh" && \
	$(PARITY)/bin/python tests/parity/record_lpips.py "$$fresh" && \
	$(PARITY)/bin/python tests/parity/record_files.py "$$fresh" && \
	$(PARITY)/bin/python tests/parity/record_audio.py "$$fresh" && \
	$(PARITY)/bin/python tests/parity/record_weights.py "$$fresh" && \
	$(PARITY)/bin/python tests/parity/record_diffusion.py "$$fresh" && \
	$(PARITY)/bin/python tests/parity/record_generators.py "$$fresh" && \
	VQJAX_PARITY="$$fresh" $(BIN)/python -m pytest tests/parity tests/features/weights_test.py tests/ops/audio_test.py tests/convert/import_test.py && \
	$(BIN)/python -m tests.parity.write_exports "$$fresh" && \
	$(PARITY)/bin/python tests/parity/check_exports.py "$$fresh"

# Makes packs of small runs, from training on, in runs/pretrained; compares them with those in
# pretrained/, where they are.
pretrained: $(VENV)/.done
	$(BIN)/python -m tests.pretrained runs/pretrained

# In an environment of its own: what publishes need not be where vqjax runs.
dist: $(VENV)/.done
	rm -rf dist && $(PYTHON) -m venv --clear $(DIST)
	$(DIST)/bin/python -m pip install --progress-bar on build twine
	$(DIST)/bin/python -m build
	$(DIST)/bin/twine check --strict dist/*
	VQJAX_WHEEL=$$(ls dist/*.whl) $(BIN)/python -m pytest -m slow tests/install_test.py -k wheel
	@ls -l dist

clean:
	rm -rf $(VENV) $(PARITY) $(DIST) dist .jax_cache $(DEMO)
