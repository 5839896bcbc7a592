"""Measures of the package and the course, of checkouts beside each other: python tests/measure_house.py [FOLDER ...]

Before and after: git worktree add /tmp/before COMMIT --detach; python tests/measure_house.py /tmp/before ."""
import ast, io, json, statistics, sys, tokenize
from pathlib import Path

def lines_of(source):
    "Lines that are neither empty nor a comment of their own (directives included)."
    return [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith('#')]

def body_length(source, function):
    "Lines of code of a function's body, without docstring, comments and empty lines."
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body: return 0
    first = min(getattr(body[0], 'lineno', 0), *(d.lineno for d in getattr(body[0], 'decorator_list', [])),
                body[0].lineno) \
        if getattr(body[0], 'decorator_list', []) else body[0].lineno
    text = '\n'.join(source.splitlines()[first - 1:body[-1].end_lineno])
    return len(lines_of(text))

def functions(source):
    "Functions and methods, nested ones apart."
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef): yield node
        if isinstance(node, ast.ClassDef): yield from (n for n in node.body if isinstance(n, ast.FunctionDef))

def arguments(function):
    a = function.args
    return len([x for x in a.posonlyargs + a.args + a.kwonlyargs if x.arg not in ('self', 'cls')])

def docment(line):
    "Is this line a parameter with its comment?"
    try: kinds = [t.type for t in tokenize.generate_tokens(io.StringIO(line.strip() + '\n').readline)]
    except (tokenize.TokenError, IndentationError): return False
    return tokenize.COMMENT in kinds and line.startswith((' ', ')'))

def exported_length(source):
    "Lines of an exported cell without directives, docment lines and docstrings."
    kept, skip = [], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            skip |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    for number, line in enumerate(source.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith('#') and number not in skip and not docment(line):
            kept.append(line)
    return len(kept)

def share(values, part):
    "The value that `part` of all values do not exceed."
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0

def package(root):
    "Measures of the modules."
    files = [p for p in (root / 'colorize_nb').rglob('*.py') if p.name != '_modidx.py']
    sources = {p: p.read_text(encoding='utf-8') for p in files}
    length = {p: len(s.splitlines()) for p, s in sources.items()}
    bodies = [body_length(s, f) for s in sources.values() for f in functions(s)]
    public = [arguments(f) for p,
              s in sources.items() for f in functions(s) if not f.name.startswith('_') and p.name != 'cli.py']
    every = [line for s in sources.values() for line in s.splitlines()]
    return {'modules': len(files), 'lines (raw)': len(every), 'longest module': max(length.values()),
            'modules over 300 lines': sum(n > 300 for n in length.values()),
            'function body, median': statistics.median(bodies),
            'function body, 95th percentile': share(bodies, .95), 'most arguments (cli apart)': max(public),
            'public functions of over 8 arguments': sum(n > 8 for n in public),
            'lines over 120': f'{sum(len(x) > 120 for x in every)} '
                              f'({sum(len(x) > 120 for x in every) / len(every):.1%})'}

def structural(source):
    "Is this a cell that cannot show anything: a module's name, the hidden install cell, imports, or exported code?"
    if source.startswith(('#| default_exp', '#| export')) or "Path('/content')" in source: return True
    try: body = ast.parse(source).body
    except SyntaxError: return False
    return bool(body) and all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in body)

def course(root):
    "Measures of the notebooks."
    cells = [c for p in sorted((root / 'nbs').rglob('*.ipynb')) if '.ipynb_checkpoints' not in p.parts
             for c in json.loads(p.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
    text = [''.join(c['source']) for c in cells]
    free = [bool(c['outputs']) for c, t in zip(cells, text) if not structural(t)]
    exported = [t for t in text if t.startswith('#| export')
                and not all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(t).body)]
    own = [exported_length(t) for t in exported]
    return {'notebooks': len(list((root / 'nbs').rglob('*.ipynb'))), 'code cells': len(cells),
            'code cells that show something': f"{sum(bool(c['outputs']) for c in cells) / len(cells):.0%}",
            '... without exports, imports, directives': f'{sum(free) / len(free):.0%}',
            'exported cells': len(exported),
            'exported cell, median (raw)': statistics.median(len(t.splitlines()) for t in exported),
            'exported cell, median': statistics.median(own), 'exported cell, 95th percentile': share(own, .95)}

if __name__ == '__main__':
    folders = [Path(name) for name in sys.argv[1:]] or [Path(__file__).resolve().parent.parent]
    tables = [{**package(folder), **course(folder)} for folder in folders]
    if len(folders) > 1: print(f"{'':40}", *[f'{folder.resolve().name:>14}' for folder in folders])
    for name in tables[0]: print(f'{name:40}', *[f'{table[name]!s:>14}' for table in tables])
