"What users do wrong, and what the command says: one line, exit code 2, nothing half-written."
import shutil, subprocess
import numpy as np, pytest
from PIL import Image
from conftest import cli
from colorize_nb.data.garden import draw_flower

@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "Good and bad pictures."
    folder = tmp_path_factory.mktemp('pictures')
    flower = Image.fromarray(draw_flower('tulip', seed=1, size=120))
    flower.save(folder / 'flower.jpg')
    flower.convert('L').save(folder / 'grey.png')
    flower.convert('RGBA').save(folder / 'alpha.png')
    flower.convert('CMYK').save(folder / 'cmyk.jpg')
    flower.convert('P').save(folder / 'palette.png')
    Image.fromarray((np.asarray(flower.convert('L')).astype(np.uint16) << 8)).save(folder / 'grey16.png')
    Image.new('RGB', (1, 1), 'red').save(folder / 'one.png')
    (folder / 'text.jpg').write_text('not a picture')
    (folder / 'cut.jpg').write_bytes((folder / 'flower.jpg').read_bytes()[:900])
    (folder / 'empty.jpg').touch()
    return folder

@pytest.mark.parametrize('target, reference, words', [
    ('nowhere.jpg', 'flower.jpg', 'nowhere.jpg'), ('text.jpg', 'flower.jpg', 'text.jpg'),
    ('cut.jpg', 'flower.jpg', 'cut.jpg'),
    ('empty.jpg', 'flower.jpg', 'empty.jpg'), ('flower.jpg', 'nowhere.png', 'nowhere.png'),
    ('flower.jpg', 'text.jpg', 'text.jpg'), ('.', 'flower.jpg', '')])
def test_bad_pictures_cost_one_line(pictures, model, tmp_path, target, reference, words):
    done = cli('colorize', pictures / target, '--reference', pictures / reference, '--weights', model, '-o',
               tmp_path / 'out.png')
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert words in done.stderr and 'Traceback' not in done.stderr
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('target, reference',
                         [('flower.jpg', 'grey.png'), ('flower.jpg', 'alpha.png'), ('grey16.png', 'cmyk.jpg'),
                          ('grey.png', 'palette.png'), ('one.png', 'flower.jpg'), ('flower.jpg', 'one.png')])
def test_odd_pictures_work(pictures, model, tmp_path, target, reference):
    done = cli('colorize', pictures / target, '-r', pictures / reference, '--weights', model, '-o',
               tmp_path / 'out.png')
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / 'out.png').size == Image.open(pictures / target).size

def test_a_hundred_megapixels(model, tmp_path):
    Image.fromarray(draw_flower('daisy', seed=1, size=300)).resize((12000, 9000)).convert('L').save(tmp_path
        / 'huge.jpg', quality=60)
    done = cli('colorize', tmp_path / 'huge.jpg', '-r', tmp_path / 'huge.jpg', '--weights', model, '-o',
               tmp_path / 'out.jpg')
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / 'out.jpg').size == (12000, 9000)

@pytest.mark.parametrize('words, cause', [
    (('colorize', 'flower.jpg', '-o', 'out.xyz'), 'cannot write this kind of file'),
    (('colorize', 'flower.jpg', '-o', 'no/out.png'), 'no such folder'),
    (('colorize', 'flower.jpg', '--weights', 'nowhere', '-o', 'out.png'), 'no such folder of weights'),
    (('colorize', 'flower.jpg', '--weights', '.', '-o', 'out.png'), 'holds no trained colorizer'),
    (('data', '--source', 'nowhere', '--out', 'out'), 'nowhere'),
    (('data', '--source', 'void', '--out', 'out'), 'void'),
    (('train', '--out', 'run', '--preset', 'laptop'), 'needs a prepared folder'),
    (('train', '--out', 'run', '--preset', 'huge'), 'no preset'),
    (('train', '--out', 'run', '--preset', 'tiny', '--resume'), 'no run to resume'),
    (('train', '--data', 'void', '--out', 'run'), 'not a prepared folder'),
    (('similarity', '--data', 'void', '--space', 'L'), 'not a prepared folder'),
    (('finetune', '--data', 'void', '--from', 'nowhere', '--out', 'mine'), 'no such folder of weights')])
def test_wrong_words_cost_one_line(pictures, tmp_path, words, cause):
    shutil.copy(pictures / 'flower.jpg', tmp_path)
    (tmp_path / 'void').mkdir()
    done = cli(*words, cwd=tmp_path)
    assert done.returncode == 2 and cause in done.stderr and done.stderr.count('\n') == 1, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {'flower.jpg', 'void'}

def test_one_class_cannot_be_classified(pictures, tmp_path):
    (tmp_path / 'photos' / 'tulip').mkdir(parents=True)
    for seed in range(6):
        Image.fromarray(draw_flower('tulip', seed=seed, size=64)).save(tmp_path / 'photos' / 'tulip' / f'{seed}.png')
    assert cli('data', '--source', tmp_path / 'photos', '--out', tmp_path / 'data', '--size', '64').returncode == 0
    done = cli('similarity', '--data', tmp_path / 'data', '--space', 'L', '--base', 'untrained')
    assert done.returncode == 2 and 'two classes' in done.stderr and done.stderr.count('\n') == 1

def test_weights_of_another_width(model, tmp_path):
    from colorize_nb.core.store import save_tensors
    from colorize_nb.unet import UNet
    shutil.copytree(model, tmp_path / 'model')
    save_tensors(UNet(width=4).state_dict(), tmp_path / 'model' / 'unet.safetensors', kind='unet', width=16,
                 in_channels=13, out_channels=2)
    Image.fromarray(draw_flower('tulip', size=40)).save(tmp_path / 't.png')
    done = cli('colorize', tmp_path / 't.png', '--weights', tmp_path / 'model', '-o', tmp_path / 'out.png')
    assert done.returncode == 2 and 'do not fit a U-Net of width 16' in done.stderr and not (tmp_path
        / 'out.png').exists()

@pytest.fixture
def small_disk(tmp_path):
    "A disk of 3 MB; skipped where mounting is not allowed."
    folder = tmp_path / 'disk'
    folder.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', folder], capture_output=True).returncode:
        pytest.skip('mounting a small tmpfs is not allowed here')
    yield folder
    subprocess.run(['umount', '-l', folder])

def test_full_disk(small_disk, model, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)).save(tmp_path / 't.png')
    photo = tmp_path / 't.png'
    done = cli('colorize', photo, '-r', photo, '--weights', model, '-o', small_disk / 'out.png')
    assert done.returncode == 2 and 'No space left' in done.stderr and done.stderr.count('\n') == 1, done.stderr
    assert not list(small_disk.iterdir())
    done = cli('train', '--preset', 'tiny', '--out', small_disk / 'run')
    assert done.returncode == 2 and done.stderr.strip().splitlines()[-1].startswith('colorize-nb:'), done.stderr
    assert 'Traceback' not in done.stderr and not list(small_disk.rglob('*.tmp'))

def test_help_of_every_command_shows_an_example():
    for words in (['data'], ['similarity'], ['train'], ['colorize'], ['demo'], ['finetune'], ['evaluate'], ['ablate'],
                  ['figures'], ['app'], ['bench', 'patchmatch'], ['bench', 'train'],
                  ['bench', 'colorize'], ['bench', 'fullsize'], ['bench', 'scale']):
        done = cli(*words, '--help')
        assert done.returncode == 0, done.stderr
        assert f"Example: colorize-nb {' '.join(words)}" in done.stdout
