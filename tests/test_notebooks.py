"Every notebook, one test each, run from its own folder as JupyterLab would."
from pathlib import Path
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_notebook

root = Path(__file__).resolve().parent.parent
skip_flags = get_config(path=root).tst_flags.split()

@pytest.mark.parametrize("path", sorted(map(Path, nbglob(root / "nbs"))), ids=lambda path: path.stem)
def test_notebook(path):
    passed, _ = run_notebook(path, skip_flags=skip_flags, do_print=True)
    assert passed, f"a cell of {path} failed: see above"
