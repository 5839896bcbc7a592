"Ruff over package and tests (ruff.toml); nbdev's lists of public names may be a little longer than a line."
import json, subprocess, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
ruff = [Path(sys.executable).parent / 'ruff', 'check', '--output-format', 'json', '.']
found = json.loads(subprocess.run(ruff, cwd=root, capture_output=True, text=True).stdout)

def generated(one):
    "Is this the list of public names that nbdev writes?"
    line = Path(one['filename']).read_text(encoding='utf-8').split('\n')[one['location']['row'] - 1]
    return one['code'] == 'E501' and line.startswith('__all__')

left = [f"{one['filename']}:{one['location']['row']}: {one['code']} {one['message']}" for one in found
        if not generated(one)]
sys.exit('\n'.join(left)) if left else print('ruff: nothing to say')
