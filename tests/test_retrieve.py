"References that are found: the right ones, different ones, an index that is built once and follows its files."
import time
from pathlib import Path
import pytest, torch
from PIL import Image
from colorize_nb.colorizer import Colorizer
from colorize_nb.data.garden import draw_flower
from colorize_nb.plan import How
from colorize_nb.control import Painter
from colorize_nb.retrieve import ROWS, Index, agreement, describe, index_file, open_index, suggest
import colorize_nb.retrieve as retrieve

KINDS = ('tulip', 'daisy', 'sunflower', 'rose')

@pytest.fixture(scope='module')
def colorizer(): return Colorizer.from_pretrained()

@pytest.fixture
def garden(tmp_path, monkeypatch):
    "Twelve drawings, three colourings of each kind."
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'garden').mkdir()
    for kind in KINDS:
        for c in range(3):
            flower = Image.fromarray(draw_flower(kind, seed=10 + c, colouring=c, size=96))
            flower.save(tmp_path / 'garden' / f'{kind}{c}.png')
    return tmp_path / 'garden'

def grey(kind, seed=40): return Image.fromarray(draw_flower(kind, seed=seed, size=96)).convert('L').convert('RGB')

def test_the_same_kind_is_found(colorizer, garden):
    index = open_index((str(garden),), colorizer, quiet=True)
    found = {kind: suggest(index, describe(colorizer, grey(kind)), 3) for kind in KINDS}
    right = sum(s.path.stem.startswith(kind) for kind, some in found.items() for s in some[:1])
    assert right >= 3 and all(len({s.path for s in some}) == 3 for some in found.values())
    assert all('subject' in s.reasons() and -1 <= s.light <= 1.001 for some in found.values() for s in some)

def test_each_file_is_described_once(colorizer, garden, monkeypatch):
    looked = []
    plain = retrieve.describe
    monkeypatch.setattr(retrieve, 'describe', lambda *args: (looked.append(1), plain(*args))[1])
    words = (str(garden),)
    for change, count in ((lambda: None, 12), (lambda: None, 0), (lambda: (garden / 'rose0.png').unlink(), 0),
                          (lambda: Image.new('RGB', (40, 30), 'red').save(garden / 'rose1.png'), 1),
                          (lambda: (garden / 'text.jpg').write_text('not a picture'), 0), (lambda: None, 0)):
        change()
        looked.clear()
        index = open_index(words, colorizer, quiet=True)
        assert len(looked) == count
    assert len(index) == 11 and not [path for path in garden.iterdir() if path.suffix not in ('.png', '.jpg')]
    index_file(words).write_bytes(b'damaged')
    assert len(open_index(words, colorizer, quiet=True)) == 11

def test_an_index_that_cannot_be_kept(colorizer, garden, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/proc/nowhere')
    assert len(open_index((str(garden),), colorizer, quiet=True)) == 12

def test_a_grey_reference_comes_last(colorizer, garden):
    grey('tulip').save(garden / 'grey.png')
    index = open_index((str(garden),), colorizer, quiet=True)
    assert suggest(index, describe(colorizer, grey('tulip')))[0].path.name != 'grey.png'

def test_the_target_is_not_its_own_reference(garden):
    painter = Painter(How(pool=(str(garden),)))
    painted = painter(garden / 'tulip1.png')
    assert 'tulip1' not in painted.references[0] and 'layout' in painted.reasons[0]

def test_a_hundred_thousand_photographs(colorizer, soak):
    count, seconds = (100_000, 2) if soak else (5_000, 5)
    asked = describe(colorizer, grey('rose'))
    generator = torch.Generator().manual_seed(0)
    rows = {key: torch.rand(count, *asked[key].shape, generator=generator) for key in ROWS}
    index = Index(Path('photos'), [str(i) for i in range(count)], [], rows)
    started = time.perf_counter()
    assert len(suggest(index, asked, 4)) == 4 and len(agreement(index, asked)['score']) == count
    assert time.perf_counter() - started < seconds
