"The exercises of a notebook: words and code of their solutions."
import json, re
from pathlib import Path

FENCE = re.compile(r'```python\n(.*?)```', re.S)

def solutions(path):
    "What stands inside of <details> in a notebook, one text for each."
    cells = json.loads(Path(path).read_text(encoding='utf-8'))['cells']
    text = '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
    return re.findall(r'<summary>Solutions?</summary>(.*?)</details>', text, re.S)

def code_of(path):
    "The Python of all solutions of a notebook, in order."
    return [code for text in solutions(path) for code in FENCE.findall(text)]

def words_of(text):
    "A solution without its code."
    return FENCE.sub('', text).split()
