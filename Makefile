# make demo   sets everything up and stylizes a photo
# make train-demo   sets everything up, fetches VGG16 (61 MB), and teaches a network a style in some minutes
# make test   sets everything up and runs the tests
# make test-pythons   sets up every Python of this machine, and runs a part of the tests on each
# make lint   checks the style of the sources
# make format   puts them into that style
# make gpu-deps   installs what computing on a GPU takes (Debian, Ubuntu)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STYLES := stained-glass,golden-spirals,pointillist-meadow

GPU_PACKAGES := python3-pygpu libgpuarray-dev pocl-opencl-icd libclblast-dev

.PHONY: demo train-demo test test-pythons lint format gpu-deps clean

demo: $(VENV)/installed
	$(BIN)/python stylize.py --model misc32 --style all --size 192 --output demo/all --grid demo/contact-sheet.jpg data/samples/pavilion.jpg
	$(BIN)/python stylize.py --model misc32 --style $(STYLES) --output demo data/samples/pavilion.jpg
	@echo "demo/contact-sheet.jpg shows a photo in all styles; beside it lie three pastiches at full size"

# A network of 16 paintings learns a style that it has not seen: first one update, so that there is something to compare
# with, then the others.
LEARN := --start-from paintings16 --style-dir data/styles/misc32/04_stained-glass.jpg --content data/samples \
  --content-size 256 --image-size 128 --style-size 256 --batch-size 2 --output demo/learning/network.npz

train-demo: $(VENV)/installed
	$(BIN)/python data/download.py vgg16
	rm -rf demo/learning
	$(BIN)/python train.py $(LEARN) --iterations 1
	$(BIN)/python stylize.py --model demo/learning/network.npz --output demo/learning/before.jpg data/samples/pavilion.jpg
	$(BIN)/python train.py $(LEARN) --iterations 80 --resume
	$(BIN)/python stylize.py --model demo/learning/network.npz --output demo/learning/after.jpg data/samples/pavilion.jpg
	@echo "demo/learning/before.jpg and after.jpg show what the network learned of data/styles/misc32/04_stained-glass.jpg"

test: $(VENV)/installed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-pythons:
	@$(PYTHON) tests/pythons.py $(PYTHONS_ARGS)

lint: $(VENV)/lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(VENV)/lint: $(VENV)/installed
	$(BIN)/python install.py test lint
	touch $@

gpu-deps:
	@command -v apt-get >/dev/null || { echo "error: this is for Debian and Ubuntu; docs/gpu.md says how to go about it elsewhere" >&2; exit 1; }
	@dpkg -s $(GPU_PACKAGES) >/dev/null 2>&1 || { \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update && $$sudo apt-get install --yes --no-install-recommends $(GPU_PACKAGES); }

$(VENV)/installed: setup.py install.py
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 8) else "error: Python 3.8 or newer is needed, and $(PYTHON) is %d.%d; say make PYTHON=python3.13, for instance" % sys.version_info[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: Python's venv module is missing; install it (Debian, Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python install.py test
	touch $@

clean:
	rm -rf $(VENV) .venv-3.* demo
