# Two commands do all their own set-up: `make demo` and `make test`.
PYTHON ?= python3
BIN = .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test notebooks lab soak fuzz readme clean

help:
	@echo "make demo       install, then colour photographs and drawn flowers: out/photos.jpg, out/demo.png"
	@echo "make test       install with the dev tools, prove style, clean and export, run every test"
	@echo "make lab        open the course in JupyterLab"
	@echo "make notebooks  run every notebook, nothing else"
	@echo "make soak       the long versions of the tests (kill and resume twenty times)"
	@echo "make fuzz       ten minutes of atheris on the picture loader"
	@echo "make readme     write README.md from nbs/index.ipynb"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "colorize_nb needs Python 3.11 to 3.13; PYTHON=%s is %d.%d. Try: make PYTHON=python3.12 ..." % (sys.executable, *v))'
	$(PYTHON) -m venv .venv

.venv/.installed: $(BIN)/python settings.ini setup.py
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/.installed-dev: $(BIN)/python settings.ini setup.py
	$(BIN)/python -m pip install -q -e '.[dev]'
# The CUDA compiler comes second: only then does pip fit it to the CUDA version that torch has chosen.
	$(BIN)/python -m pip install -q -e '.[cuda13]'
	@touch $@ .venv/.installed

demo: .venv/.installed
	$(BIN)/colorize-nb demo --out out

test: .venv/.installed-dev
	$(BIN)/python tests/check_style.py
	$(BIN)/python tests/check_export.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n auto --dist worksteal

notebooks: .venv/.installed-dev
	$(BIN)/python -m pytest tests/test_notebooks.py tests/test_exercises.py

soak: .venv/.installed-dev
	SOAK=1 $(BIN)/python -m pytest tests

FUZZ_SECONDS ?= 600
fuzz: .venv/.installed-dev
	$(BIN)/python -m pip install -q -e '.[fuzz]'
	mkdir -p out
	$(BIN)/python tests/fuzz_pictures.py atheris $(FUZZ_SECONDS)

lab: .venv/.installed-dev
	$(BIN)/jupyter lab nbs/index.ipynb

readme: .venv/.installed-dev
	$(BIN)/python tests/readme.py --write

clean:
	rm -rf out _docs _proc build *.egg-info
