# `make test`, `make test-all` and `make quickstart` do all the set-up themselves, in the folder .venv.
# make test TORCH=torch==2.13.0+cu130: another build of PyTorch. PYTHON, VENV: see below.
PYTHON ?= python3
VENV ?= .venv
# The version that the tests run with. Without one, pip may replace an installed PyTorch.
TORCH ?= torch==2.13.0
FAIRSEQ = fairseq-fixed==0.12.3.1

BIN = $(abspath $(VENV))/bin
READY = $(VENV)/.ready

.PHONY: setup test test-all quickstart lint docs gather

setup: $(READY)

$(READY): requirements.txt requirements-dev.txt setup.py
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 10) <= v < (3, 14) else \
	  "Python 3.10 to 3.13 is needed, 3.11 is tested; this is %d.%d: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(TORCH) -r requirements.txt
	$(BIN)/pip install --no-build-isolation --no-deps $(FAIRSEQ)
	$(BIN)/pip install --no-build-isolation --no-deps -e .
	$(BIN)/pip install --use-pep517 -r requirements-dev.txt  # seqeval, with an older pip
	touch $@

# All but what is marked as slow; test-all is everything. WORKERS: processes side by side.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

test: setup
	$(PYTEST) -m "not slow"

test-all: setup
	$(PYTEST)

quickstart: setup
	PATH="$(BIN):$$PATH" examples/quickstart/run.sh

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

docs: setup
	$(BIN)/sphinx-build --fail-on-warning --quiet -c docs . outputs/site
	@echo "the site: outputs/site/index.html"

# make gather FOLDER=dir: what a machine without a network needs, see docs/install.md. WITH: more packages.
gather:
	$(PYTHON) offline/gather.py "$(or $(FOLDER),$(error name a new folder: make gather FOLDER=dir))" \
	  --torch "$(TORCH)" --fairseq $(FAIRSEQ) \
	  $(if $(FOR_PYTHON),--python-version $(FOR_PYTHON)) $(if $(FOR_GLIBC),--glibc $(FOR_GLIBC)) \
	  --with "$(WITH)"
