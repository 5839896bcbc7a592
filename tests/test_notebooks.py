"""Every notebook, one test each, run from its own folder as JupyterLab would. Those whose exercises have code run in
test_exercises, with their solutions."""
import os, shutil, subprocess, sys
from pathlib import Path
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_notebook
from solutions import code_of

root = Path(__file__).resolve().parent.parent
skip_flags = get_config(path=root).tst_flags.split()

@pytest.mark.parametrize('path', sorted(map(Path, nbglob(root / 'nbs'))), ids=lambda path: path.stem)
def test_notebook(path):
    if code_of(path): pytest.skip('runs with its solutions: test_exercises.py')
    passed, _ = run_notebook(path, skip_flags=skip_flags, do_print=True)
    assert passed, f'a cell of {path} failed: see above'

def test_documentation_is_processed(tmp_path):
    for name in ('nbs', 'colorize_nb'):
        shutil.copytree(root / name, tmp_path / name,
                        ignore=shutil.ignore_patterns('weights', '__pycache__', '.ipynb_checkpoints', '_proc'))
    for name in ('settings.ini', 'setup.py', 'README.md'): shutil.copy(root / name, tmp_path)
    quarto = tmp_path / 'bin' / 'quarto' # nbdev would download and install it, and does not use it here
    quarto.parent.mkdir()
    quarto.write_text('#!/bin/sh\n')
    quarto.chmod(0o755)
    done = subprocess.run([Path(sys.executable).parent / 'nbdev_proc_nbs'], cwd=tmp_path, capture_output=True,
                          text=True, timeout=600,
                          env={**os.environ, 'PATH': f"{quarto.parent}{os.pathsep}{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    made = {path.relative_to(tmp_path / '_proc') for path in (tmp_path / '_proc').rglob('*.ipynb')}
    assert made >= {path.relative_to(root / 'nbs') for path in map(Path, nbglob(root / 'nbs'))}

def test_notebooks_open_in_colab_and_install_themselves():
    for path in map(Path, nbglob(root / 'nbs')):
        place, text = path.relative_to(root).as_posix(), path.read_text()
        if path.stem == 'index': continue
        assert f'colorize_nb/blob/main/{place})' in text and "Path('/content').exists()" in text, place

def test_notebooks_are_small_enough_to_open():
    sizes = {path.name: path.stat().st_size for path in map(Path, nbglob(root / 'nbs'))}
    assert max(sizes.values()) < 512_000 and sum(sizes.values()) < 8_000_000, sizes
