"Every public name is explained: a docstring, and a comment for every parameter (docments)."
import importlib, inspect
from pathlib import Path
import pytest
from fastcore.docments import docments

root = Path(__file__).resolve().parent.parent
modules = sorted('.'.join(path.relative_to(root).with_suffix('').parts).removesuffix('.__init__')
                 for path in (root / 'colorize_nb').rglob('*.py') if path.name != '_modidx.py')
COMMANDS = ('colorize_nb.cli',)

def public(module):
    return [getattr(module, name) for name in getattr(module, '__all__', []) if not name.startswith('_')]

def undocumented(function):
    "Parameters without a comment of their own."
    notes = docments(function, full=True)
    names = [name for name,
             parameter in inspect.signature(function).parameters.items() if name not in ('self', 'cls')
             and parameter.kind != parameter.VAR_KEYWORD]
    return [name for name in names if not (notes.get(name) and notes[name].docment)]

@pytest.mark.parametrize('name', modules)
def test_public_names_are_explained(name):
    module, bad = importlib.import_module(name), []
    for thing in public(module):
        if not (inspect.isfunction(thing) or inspect.isclass(thing)) or not thing.__module__.startswith('colorize_nb'):
            continue
        if not (thing.__doc__ or '').strip(): bad.append(f'{thing.__name__}: no docstring')
        if name in COMMANDS: continue
        functions = [thing] if inspect.isfunction(thing) else [f for n,
            f in vars(thing).items() if inspect.isfunction(f) and (n == '__init__' or not n.startswith('_'))
            and f.__module__.startswith('colorize_nb')]
        if inspect.isclass(thing) and hasattr(thing, '__dataclass_fields__'):
            functions = [f for f in functions if f.__name__ != '__init__']
        bad += [f"{thing.__name__}.{f.__name__}: {', '.join(missing)}" for f in functions
                if (missing := undocumented(f))]
    assert not bad, '\n'.join(bad)
