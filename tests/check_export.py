"Prove, in this order, that the notebooks are clean and that the package is what they export."
import hashlib, subprocess, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent

def fingerprint():
    "Hash of every notebook and module."
    files = [*root.glob('nbs/**/*.ipynb'), *root.glob('colorize_nb/**/*.py')]
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files
            if '.ipynb_checkpoints' not in f.parts}

for command in ('nbdev_clean', 'nbdev_export'):
    before = fingerprint()
    subprocess.run([Path(sys.executable).parent / command], cwd=root, check=True)
    after = fingerprint()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed: sys.exit(f"{command} changed {', '.join(changed)}: commit what it wrote")
    print(f'{command}: nothing to change')
