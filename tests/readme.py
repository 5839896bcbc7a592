"README.md is the index notebook: `python tests/readme.py --write` writes it, the tests compare."
import re, sys
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).resolve().parent.parent

def readme() -> str:
    "Text and table outputs of nbs/index.ipynb, with links and pictures as seen from the top folder."
    notebook = nbformat.read(root / 'nbs/index.ipynb', as_version=4)
    notebook.cells = [cell for cell in notebook.cells if 'colab-badge' not in cell.source]
    text, _ = MarkdownExporter(exclude_input=True).from_notebook_node(notebook)
    def link(match): return f']({match[1][3:]})' if match[1].startswith('../') else f'](nbs/{match[1]})'
    text = re.sub(r'\]\((?!https?:|#)([^)]+)\)', link, text)
    return '<!-- written from nbs/index.ipynb by `make readme` -->\n\n' + re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'

if __name__ == '__main__':
    if '--write' in sys.argv: (root / 'README.md').write_text(readme(), encoding='utf-8')
    elif readme() != (root / 'README.md').read_text(encoding='utf-8'):
        sys.exit('README.md and nbs/index.ipynb differ: run `make readme`')
