"""Solutions say their answer in words, and their code runs: each of them right after its exercise. The names
in notebooks and solutions are looked up beforehand, which takes a second."""
import json, subprocess, sys
from pathlib import Path
import pytest
from execnb.nbio import mk_cell
from execnb.shell import CaptureShell
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor
from fastcore.utils import working_directory
from solutions import code_in, code_of, solutions, words_of

root = Path(__file__).resolve().parent.parent
flags = set(get_config(path=root).tst_flags.split())
notebooks = sorted(map(Path, nbglob(root / 'nbs')))
name = lambda path: f'{path.parent.name}/{path.stem}'

@pytest.mark.parametrize('path', [path for path in notebooks if solutions(path)], ids=name)
def test_an_answer_in_words(path):
    silent = [text.strip()[:60] for text in solutions(path) if len(words_of(text)) < 4]
    assert not silent, f'{path}: the answer is missing beside {silent}'

def test_names_exist(tmp_path):
    for path in notebooks:
        content = json.loads(path.read_text(encoding='utf-8'))
        content['cells'] += [dict(cell_type='code', source=code, metadata={}, outputs=[], execution_count=None)
                             for code in code_of(path)]
        (tmp_path / f'{path.parent.name}-{path.name}').write_text(json.dumps(content))
    done = subprocess.run([Path(sys.executable).parent / 'ruff', 'check', '--isolated', '--select', 'F821,E9',
                           '--output-format', 'concise', tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

def skipped(cell):
    "Is this a cell that needs a GPU, much time, or nothing?"
    return cell.cell_type != 'code' or flags & getattr(cell, 'directives_', {}).keys()

@pytest.mark.parametrize('path', [path for path in notebooks if code_of(path)], ids=name)
def test_solutions_run(path, monkeypatch):
    monkeypatch.setenv('IN_TEST', '1')
    notebook, shell = NBProcessor(path, process=True).nb, CaptureShell(path)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == 'markdown': cells += map(mk_cell, code_in(cell.source))
    for number, cell in enumerate(cells): cell.idx_ = number
    notebook.cells = cells
    with working_directory(path.parent):
        try: shell.run_all(notebook, exc_stop=True, preproc=skipped)
        except Exception: pytest.fail(shell.prettytb(fname=path))
