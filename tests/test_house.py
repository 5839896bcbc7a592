"The shape of the package: arrows run one way, the colouring path is light, and each kind of file has one writer."
import ast, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent / 'colorize_nb'
ROOMS = ('core plan color data lite2 features match fullsize fusion unet colorizer similarity search train evaluate '
         'figures explain retrieve control jobs bench cli app demo'.split())
MODULES = {'core': 'store chance progress', 'data': 'garden augment pictures duplicates photos sources',
           'match': 'field reference workers pyramid exact layout cpu cuda attention',
           'train': 'distributed twins pairs loss runs loop exemplar',
           'evaluate': 'metrics baselines questions methods report twin runner ablations',
           'figures': 'style records distributions curves animation graphs photos results thesis',
           'bench': 'matching training colouring scale', 'jobs': 'journal local one watch stores ray'}
LATER = {('match.pyramid', f'match.{solver}') for solver in ('exact', 'cpu', 'cuda')} | {('cli', 'app'),
    ('cli', 'demo'), ('colorizer', 'control')}
FILES = {'.'.join(p.relative_to(root).with_suffix('').parts): p for p in sorted(root.rglob('*.py'))
         if p.name not in ('_modidx.py', '__init__.py')}

def imported(name):
    "Modules of ours that a module imports, anywhere in it."
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding='utf-8'))):
        if not isinstance(node, ast.ImportFrom): continue
        above = ['colorize_nb', *name.split('.')][:-node.level] if node.level else []
        module = '.'.join([*above, *filter(None, [node.module])])
        if not module.startswith('colorize_nb'): continue
        module = module[12:]
        yield from [module] if module in FILES else [f'{module}.{alias.name}'.strip('.') for alias in node.names]

def place(name):
    room, _, module = name.partition('.')
    return ROOMS.index(room), MODULES[room].split().index(module) if module else 0

@pytest.mark.parametrize('name', FILES)
def test_arrows_run_one_way(name):
    assert not [other for other in imported(name) if place(other) >= place(name) and (name, other) not in LATER]

@pytest.mark.parametrize('words, allowed',
                         [('os.replace', ('core.store',)), ('default_rng', ('core.chance', 'data.garden'))])
def test_one_writer_and_one_dice(words, allowed):
    assert [name for name, path in FILES.items() if words in path.read_text(encoding='utf-8')] == list(allowed)

def python(code):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root.parent, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

def test_the_colouring_path_is_light():
    heavy = "[m for m in sys.modules if m.split('.')[0] in ('fastai', 'matplotlib', 'gradio', 'torchvision')]"
    assert python(f'import sys, colorize_nb.cli, colorize_nb.match.exact, colorize_nb.match.cpu; '
                  f'from colorize_nb import Colorizer; print({heavy})') == '[]'

def test_the_package_loads_nothing_before_it_is_asked():
    assert python("import sys, colorize_nb; print('torch' in sys.modules, "
                  "colorize_nb.__version__)").startswith('False 0.')
    assert python("import colorize_nb\ntry: colorize_nb.nothing\nexcept AttributeError: print('none')") == 'none'

def test_equal_weights_give_equal_files(tmp_path):
    code = ("import sys, torch; from colorize_nb.core.store import save_tensors; "
            "save_tensors({'w': torch.arange(6.), 'b': torch.ones(2)}, sys.argv[1], **{c: c for c in 'abcdefgh'})")
    for name in 'ab':
        subprocess.run([sys.executable, '-c', code, tmp_path / name], cwd=root.parent, check=True, timeout=600)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()

def test_words_of_older_files_are_read(tmp_path):
    import torch
    from safetensors.torch import save
    from colorize_nb.core.store import read_metadata
    (tmp_path / 'old').write_bytes(save({'w': torch.ones(1)}, {'kind': '"unet"', 'width': '8'}))
    assert read_metadata(tmp_path / 'old') == {'kind': 'unet', 'width': 8}
