"The exercises of a notebook: words and code of their solutions."
import json, re
from pathlib import Path

FENCE = re.compile(r'```python\n(.*?)```', re.S)

def inside(text):
    "What stands inside of <details> in a text, one for each."
    return re.findall(r'<summary>Solutions?</summary>(.*?)</details>', text, re.S)

def code_in(text):
    "The Python of the solutions in a text, in order."
    return [code for solution in inside(text) for code in FENCE.findall(solution)]

def texts(path):
    "The markdown cells of a notebook."
    cells = json.loads(Path(path).read_text(encoding='utf-8'))['cells']
    return [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown']

def solutions(path):
    "All solutions of a notebook."
    return [solution for text in texts(path) for solution in inside(text)]

def code_of(path):
    "The Python of all solutions of a notebook, in order."
    return [code for text in texts(path) for code in code_in(text)]

def words_of(text):
    "A solution without its code."
    return FENCE.sub('', text).split()
