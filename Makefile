# make demo   sets everything up and stylizes a photo
# make train-demo   sets everything up, fetches VGG16 (61 MB), and teaches a network a style in some minutes
# make video-demo   sets everything up, draws a clip and stylizes it
# make test   sets everything up and runs the tests
# make test-pythons   sets up every Python of this machine, and runs a part of the tests on each
# make lint   checks the style of the sources
# make format   puts them into that style
# make gpu-deps   installs what computing on a GPU takes (Debian, Ubuntu)
# make web   builds the page for the browser, web/dist; takes node 18 or newer, with npm
# make web-serve   builds it and serves it on this machine
# make web-deps   installs what the tests of the page take: Chromium (Debian, Ubuntu), and packages of npm

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STYLES := stained-glass,golden-spirals,pointillist-meadow
BLEND := stained-glass=0.5,golden-spirals=0.5

# The network of the page: a slim one, where there is one.
WEB_MODEL ?= $(if $(wildcard data/models/misc32-slim.npz),misc32-slim,misc32)
WEB_PORT ?= 8000
NODE_MODULES := web/node_modules/.package-lock.json

GPU_PACKAGES := python3-pygpu libgpuarray-dev pocl-opencl-icd libclblast-dev

.PHONY: demo train-demo video-demo test test-pythons lint format gpu-deps web web-serve web-deps clean

demo: $(VENV)/installed
	for network in misc32 paintings16 monet10; do $(BIN)/python stylize.py --model $$network --style all --size 192 \
	  --output demo/all --grid demo/$$network.jpg data/samples/pavilion.jpg || exit 1; done
	$(BIN)/python stylize.py --model misc32 --style $(STYLES) --output demo data/samples/pavilion.jpg
	$(BIN)/python stylize.py --model misc32 --blend $(BLEND) --output demo/blend.jpg data/samples/pavilion.jpg
	for network in great-wave udnie; do \
	  $(BIN)/python stylize.py --model fns-$$network --output demo/$$network.jpg data/samples/pavilion.jpg || exit 1; done
	@echo "demo/misc32.jpg, paintings16.jpg and monet10.jpg show a photo in all styles; beside them lie pastiches at full size"

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

video-demo: $(VENV)/installed
	$(BIN)/python data/make_clip.py demo/clip.mp4
	$(BIN)/python video.py demo/clip.mp4 --model misc32 --style stained-glass --output demo/steady.mp4
	$(BIN)/python video.py demo/clip.mp4 --model misc32 --style stained-glass --steady 0 --output demo/frame-by-frame.mp4
	@echo "demo/steady.mp4 is demo/clip.mp4 in stained glass, with its sound; demo/frame-by-frame.mp4 shows what flickers otherwise"

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

web: $(VENV)/installed $(NODE_MODULES)
	$(BIN)/python web/build.py $(WEB_MODEL)

web-serve: web
	@$(BIN)/python web/serve.py --port $(WEB_PORT)

$(NODE_MODULES): web/package.json web/package-lock.json
	@command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' || { echo "error: node 18 or newer with npm is needed; install it (Debian, Ubuntu: sudo apt install npm)" >&2; exit 1; }
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

web-deps:
	@needed=; command -v npm >/dev/null || needed=npm; \
	for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && break; done || needed="$$needed chromium"; \
	[ -z "$$needed" ] || { \
	  command -v apt-get >/dev/null || { echo "error: this is for Debian and Ubuntu; elsewhere install $$needed" >&2; exit 1; }; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update && $$sudo apt-get install --yes --no-install-recommends $$needed; }
	@$(MAKE) --no-print-directory $(NODE_MODULES)

$(VENV)/installed: setup.py install.py
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 8) else "error: Python 3.8 or newer is needed, and $(PYTHON) is %d.%d; say make PYTHON=python3.13, for instance" % sys.version_info[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: Python's venv module is missing; install it (Debian, Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python install.py test
	touch $@

clean:
	rm -rf $(VENV) .venv-3.* demo web/dist web/node_modules
