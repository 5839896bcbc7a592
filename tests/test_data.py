"Data: every kind of file, faults while preparing, downloads that break off, sweeps over drawn flowers and splits."
import hashlib, http.server, io, json, os, re, shutil, tarfile, threading, time
from collections import Counter
from csv import DictReader
from pathlib import Path
import numpy as np
import pytest
import torch
from PIL import Image
from colorize_nb.data import duplicates
from colorize_nb.data import garden
from colorize_nb.data import photos as photo_sets
from colorize_nb.color import rgb_to_lab, to_tensor
from colorize_nb.data.augment import apply_affine, augment_affine
from colorize_nb.data.duplicates import join_groups, similar_pairs
from colorize_nb.data.garden import DRAWN_KINDS, N_COLOURINGS, draw_flower, drawn_petal_mask
from colorize_nb.data.photos import FLOWERS, PhotoSet, draw_split, find_photos, lab_statistics, prepare
from colorize_nb.data.photos import recorded_split, split_table, valid_counts
from colorize_nb.data.pictures import load_image, open_picture
from colorize_nb.data.sources import download, tensorflow_source, unpack

ROOT = Path(__file__).parents[1]
FLOWERS_DIR = ROOT.parent / 'shared' / 'flowers'
needs_photos = pytest.mark.skipif(not FLOWERS_DIR.is_dir(), reason='the flower photos are not on this machine')


def one_line(error):
    text = str(error.value)
    assert '\n' not in text and len(text) < 400, text
    return text


@pytest.fixture
def photo(): return Image.fromarray(draw_flower('rose', 4, size=96))


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    for kind in ('rose', 'tulip'):
        (root / kind).mkdir()
        for seed in range(15):
            Image.fromarray(draw_flower(kind, seed, seed % 5, 64)).save(root / kind / f'{seed:02d}.png')
    return root


@pytest.fixture
def source(drawn, tmp_path):
    "Thirty drawn pictures in two class folders."
    return Path(shutil.copytree(drawn, tmp_path / 'src'))


def listing(folder):
    return {p.relative_to(folder).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob('*')}


# drawn flowers

@pytest.mark.parametrize('kind', DRAWN_KINDS)
def test_colourings_share_their_lightness(kind):
    for seed in range(4):
        truth = garden._lab(garden._scene(kind, seed, 80), kind, 0)[0]
        petals = torch.from_numpy(drawn_petal_mask(kind, seed, 80))
        assert petals.float().mean() > 0.04
        means = []
        for colouring in range(N_COLOURINGS):
            lab = rgb_to_lab(to_tensor(draw_flower(kind, seed, colouring, 80)))
            assert (lab[0] - truth).abs().max() <= 0.7
            means.append(lab[1:, petals].mean(1))
        assert torch.pdist(torch.stack(means)).min() > 10


def test_drawing_is_quick_and_repeatable():
    draw_flower('rose')
    times = []
    for seed in range(2):
        for kind in DRAWN_KINDS:
            start = time.process_time()
            picture = draw_flower(kind, seed)
            times.append(time.process_time() - start)
            assert np.array_equal(picture, draw_flower(kind, seed))
    assert np.median(times) < 0.3


def test_seeds_differ_in_place_and_size():
    masks = np.stack([drawn_petal_mask('daisy', seed, 64) for seed in range(20)])
    y, x = np.indices((64, 64))
    centres = np.stack([(masks * c).sum((1, 2)) / masks.sum((1, 2)) for c in (x, y)], 1)
    assert (centres.std(0) > 2).all() and masks.sum((1, 2)).std() > 60


def test_scene_does_not_depend_on_the_size():
    small, large = (drawn_petal_mask('tulip', 3, s) for s in (64, 256))
    assert np.mean(small == large.reshape(64, 4, 64, 4)[:, 2, :, 2]) > 0.97


def test_drawn_set():
    photos = PhotoSet.drawn(50, size=48, seed=2)
    assert photos.images.shape == (50, 48, 48, 3) and photos.labels.dtype == np.int64
    assert [row[1:] for row in split_table(photos)] == [(8, 2)] * 5 + [(40, 10)]
    assert np.array_equal(photos.images, PhotoSet.drawn(50, size=48, seed=2).images)
    assert len({Path(f).stem.split('-')[0] for f in photos.files}) == 50


# reading

def save(image, path, **kwargs):
    image.save(path, **kwargs)
    return path


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'I;16', 'I', 'F'])
def test_every_mode(mode, photo, tmp_path):
    grey = np.asarray(photo.convert('L'))
    if mode == 'I;16': image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == 'F': image = Image.fromarray(grey.astype(np.float32) / 255)
    elif mode == 'P': image = photo.quantize(128)
    else: image = photo.convert(mode)
    name = {'CMYK': 'x.tif', 'YCbCr': 'x.jpg', 'I': 'x.tif', 'F': 'x.tif'}.get(mode, 'x.png')
    for got in (load_image(image), load_image(save(image, tmp_path / name))):
        assert got.mode == 'RGB' and got.size == photo.size
        if mode != '1': assert np.abs(np.asarray(got.convert('L')).astype(int) - grey).mean() < 8


def test_16_bit_is_not_stretched(tmp_path):
    dark = Image.fromarray(np.linspace(0, 20000, 64 * 64).reshape(64, 64).astype(np.uint16))
    assert np.asarray(load_image(save(dark, tmp_path / 'dark.png'))).max() == round(20000 / 257)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(orientation, photo, tmp_path):
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = photo.transpose(Image.Transpose(turn[orientation])) if orientation > 1 else photo
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = load_image(save(stored, tmp_path / 'x.png', exif=exif))
    assert np.array_equal(np.asarray(got), np.asarray(photo))


def test_transparency_animation_and_palette(photo, tmp_path):
    clear = Image.new('RGBA', (8, 8), (255, 0, 0, 0))
    assert load_image(save(clear, tmp_path / 'c.png')).getpixel((0, 0)) == (255, 255, 255)
    moving = tmp_path / 'm.gif'
    Image.new('RGB', (8, 8), 'red').save(moving, save_all=True, append_images=[Image.new('RGB', (8, 8), 'blue')])
    first = open_picture(moving)
    assert first.image.getpixel((0, 0)) == (255, 0, 0) and 'first of 2 frames' in first.notes
    indexed = photo.quantize(8)
    assert load_image(save(indexed, tmp_path / 't.png', transparency=0)).mode == 'RGB'


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'gif', 'webp', 'tif', 'bmp'])
def test_truncated_files(suffix, photo, tmp_path):
    whole = save(photo, tmp_path / f'x.{suffix}').read_bytes()
    (tmp_path / f'x.{suffix}').write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError) as e: load_image(tmp_path / f'x.{suffix}')
    assert f'x.{suffix}' in one_line(e)


def test_what_is_no_picture(tmp_path):
    (tmp_path / 'text.jpg').write_text('hello')
    (tmp_path / 'empty.png').touch()
    for name, error, reason in (('text.jpg', ValueError, 'not a picture'), ('empty.png', ValueError, 'empty'),
                                ('no.png', FileNotFoundError, 'no such file'), ('.', ValueError, 'folder')):
        with pytest.raises(error, match=reason) as e: load_image(tmp_path / name)
        one_line(e)
    for thing in (3, None, np.zeros((3, 4, 5)), np.zeros((4, 4), int), np.zeros((0, 4, 3), np.uint8),
                  Image.new('RGB', (0, 5))):
        with pytest.raises(ValueError): load_image(thing)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_size_limits(tmp_path):
    wide = save(Image.new('L', (16000, 9000)), tmp_path / 'wide.jpg', quality=20)
    with pytest.raises(ValueError, match='128 million') as e: load_image(wide)
    one_line(e)
    small = open_picture(wide, fit=64)
    assert max(small.image.size) <= 2000 and 'at a fraction' in small.notes[0]
    bomb = save(Image.new('1', (20000, 20000)), tmp_path / 'bomb.png')
    with pytest.raises(ValueError, match='128 million') as e: load_image(bomb)
    one_line(e)
    assert load_image(save(Image.new('1', (12000, 9000)), tmp_path / 'camera.png')).size == (12000, 9000)
    assert load_image(save(Image.new('RGB', (1, 1), 'red'), tmp_path / 'dot.png')).size == (1, 1)


def test_a_lazy_pillow_image_that_is_cut(photo, tmp_path):
    whole = save(photo, tmp_path / 'x.jpg').read_bytes()
    with pytest.raises(ValueError, match='cannot be decoded'):
        load_image(Image.open(io.BytesIO(whole[:len(whole) // 2])))


# duplicates and split

def test_copies_are_found_and_strangers_are_not():
    album = [Image.fromarray(draw_flower(k, s)) for k in DRAWN_KINDS for s in range(5)]
    n, changed = len(album), []
    for i in range(0, n, 3):
        x = album[i]
        changed += [(i, x.resize((90, 90))), (i, x.convert('L')), (i, x.point(lambda v: v // 2 + 90)),
                    (i, x.crop((3, 2, 159, 158)))]
        buffer = io.BytesIO()
        x.save(buffer, 'JPEG', quality=30)
        changed.append((i, Image.open(buffer)))
    looks = np.stack([duplicates._look(p) for p in album + [p for _, p in changed]])
    groups = join_groups(len(looks), [p[:2] for p in similar_pairs(looks)])
    assert np.mean([groups[n + j] == groups[i] for j, (i, _) in enumerate(changed)]) == 1
    assert np.mean(groups[:n] == np.arange(n)) > 0.95


def test_split_keeps_groups_and_counts():
    rng = np.random.default_rng(0)
    for trial in range(20):
        n = int(rng.integers(20, 300))
        names = [f'class{c}' for c in rng.integers(0, 4, n)]
        files = [f'{name}/{i}.jpg' for i, name in enumerate(names)]
        groups = join_groups(n, rng.integers(0, n, (n // 10, 2)).tolist())
        counts = valid_counts(names)
        valid = draw_split(files, names, groups, counts)
        assert Counter(name for name, v in zip(names, valid) if v) == Counter({k: v for k, v in counts.items() if v})
        assert all(len(set(valid[groups == g])) == 1 for g in set(groups.tolist()))
        order = rng.permutation(n)
        again = draw_split([files[i] for i in order], [names[i] for i in order], groups[order], counts)
        assert np.array_equal(again, valid[order])


def test_split_is_the_same_in_both_unicode_forms():
    assert photo_sets._order('rose/é.jpg') == photo_sets._order('rose/é.jpg')


def test_recorded_split_follows_the_rule():
    with open(ROOT / 'data' / 'flowers_split.csv', encoding='utf-8', newline='') as f: rows = list(DictReader(f))
    files, names = [r['file'] for r in rows], [r['class'] for r in rows]
    groups = np.array([int(r['group'] or i) for i, r in enumerate(rows)])
    assert len(rows) == 4317 and files == sorted(files) and names == [f.split('/')[0] for f in files]
    assert valid_counts(names) == {name: v for name, (_, v) in FLOWERS.items()}
    valid = np.array([r['split'] == 'valid' for r in rows])
    assert Counter(n for n, v in zip(names, valid) if v) == {name: v for name, (_, v) in FLOWERS.items()}
    assert np.array_equal(draw_split(files, names, groups, valid_counts(names)), valid)
    assert recorded_split() == dict(zip(files, valid.tolist()))


@needs_photos
def test_duplicates_of_the_flower_photos():
    with open(ROOT / 'data' / 'flowers_split.csv', encoding='utf-8', newline='') as f: rows = list(DictReader(f))
    assert [f for f, _ in find_photos(FLOWERS_DIR)[1]] == [r['file'] for r in rows]
    some = [r for i, r in enumerate(rows) if r['group'] or i % 15 == 0]
    images = [load_image(FLOWERS_DIR / r['file']) for r in some]
    expected = Counter(r['group'] for r in some if r['group'])
    for change in (lambda x: x, lambda x: x.resize((x.width * 2 // 3, x.height * 2 // 3))):
        looks = np.stack([duplicates._look(change(x)) for x in images])
        groups = join_groups(len(some), [p[:2] for p in similar_pairs(looks)])
        found = {frozenset(np.flatnonzero(groups == g).tolist()) for g in set(groups.tolist())}
        same = [frozenset(i for i, r in enumerate(some) if r['group'] == g) for g in expected]
        assert np.mean([g in found for g in same]) > 0.85
    assert Counter(rows[i]['file'].split('/')[1] for i in range(len(rows))
                   if rows[i]['group']).most_common(4)[3][1] == 2


@needs_photos
@pytest.mark.skipif(not os.environ.get('SOAK'), reason='SOAK=1 prepares all 4317 photos')
def test_all_flower_photos(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_sets, 'recorded_split', dict)
    photos = prepare(FLOWERS_DIR, tmp_path / 'out', quiet=True)
    assert [row[2] for row in split_table(photos)] == [81, 94, 74, 69, 95, 413]
    record = {r['file']: r['split'] == 'valid' for r in DictReader((ROOT / 'data' / 'flowers_split.csv').open())}
    assert dict(zip(photos.files, photos.valid.tolist())) == record


# preparing

def test_prepare_changes_nothing_in_the_source_and_does_nothing_twice(source, tmp_path):
    before = listing(source)
    photos = prepare(source, tmp_path / 'out', size=48, quiet=True)
    assert listing(source) == before
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['data.json', 'images.npy', 'report.csv',
        'split.csv']
    assert len(photos) == 30 and photos.images.shape[1:] == (48, 48, 3) and len(photos.valid_idx) == 4
    assert np.array_equal(photos.images[3],
                          np.asarray(load_image(photos.path(3)).resize((48, 48), Image.Resampling.BICUBIC)))
    assert photos.stats == lab_statistics(photos)
    stamp = listing(tmp_path / 'out')
    prepare(source, tmp_path / 'out', size=48, quiet=True)
    assert listing(tmp_path / 'out') == stamp
    Image.fromarray(draw_flower('tulip', 77)).save(source / 'tulip' / 'new.png')
    assert len(prepare(source, tmp_path / 'out', size=48, quiet=True)) == 31


def test_prepare_continues_after_an_interruption(source, tmp_path, monkeypatch):
    monkeypatch.setattr(photo_sets, '_CHUNK', 4)
    whole = prepare(source, tmp_path / 'whole', size=32, quiet=True)
    real, done = photo_sets._prepare_one, []
    def interrupted(path, file, size):
        if len(done) >= 18: raise KeyboardInterrupt
        done.append(file)
        return real(path, file, size)
    monkeypatch.setattr(photo_sets, '_prepare_one', interrupted)
    with pytest.raises(KeyboardInterrupt): prepare(source, tmp_path / 'out', size=32, quiet=True)
    assert not (tmp_path / 'out' / 'data.json').exists() and not list((tmp_path / 'out').rglob('*.tmp'))
    with pytest.raises(FileNotFoundError, match='not a prepared folder'): PhotoSet.open(tmp_path / 'out')
    again = []
    monkeypatch.setattr(photo_sets, '_prepare_one', lambda path, file,
                        size: again.append(file) or real(path, file, size))
    photos = prepare(source, tmp_path / 'out', size=32, quiet=True)
    assert 12 <= len(again) < 18
    for name in ('split.csv', 'report.csv', 'images.npy'):
        assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
    assert photos.files == whole.files


@pytest.mark.parametrize('target', ['npz', 'images.npy', 'split.csv', 'data.json'])
def test_full_disk_leaves_nothing_half_written(target, source, tmp_path, monkeypatch):
    real = os.replace
    def replace(aside, path):
        if str(path).endswith(target): raise OSError(28, 'No space left on device')
        return real(aside, path)
    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(OSError, match='No space left') as e: prepare(source, tmp_path / 'out', size=32, quiet=True)
    one_line(e)
    assert not list((tmp_path / 'out').glob('partial*')) and not list((tmp_path
        / 'out').rglob('*.tmp')) and not (tmp_path / 'out' / 'data.json').exists()
    monkeypatch.setattr(os, 'replace', real)
    assert len(prepare(source, tmp_path / 'out', size=32, quiet=True)) == 30


def test_too_little_space_is_said_at_once(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage',
                        lambda path: shutil._ntuple_diskusage(10, 9, 1) if hasattr(shutil, '_ntuple_diskusage')
                        else None)
    with pytest.raises(OSError, match='MB are needed') as e: prepare(source, tmp_path / 'out', quiet=True)
    one_line(e)


def test_a_source_that_goes_away_is_no_removal(source, tmp_path, monkeypatch):
    real = photo_sets._prepare_one
    def gone(path, file, size):
        if file == 'tulip/03.png': path.unlink()
        return real(path, file, size)
    monkeypatch.setattr(photo_sets, '_prepare_one', gone)
    with pytest.raises(FileNotFoundError, match='03.png') as e: prepare(source, tmp_path / 'out', size=32, quiet=True)
    one_line(e)
    assert not (tmp_path / 'out' / 'data.json').exists()


def test_report_of_a_messy_folder(source, tmp_path, photo):
    (source / 'rose' / 'run_me.py').write_text('print(1)')
    (source / 'rose' / 'empty.jpg').touch()
    (source / 'rose' / '.hidden').touch()
    (source / 'LICENSE.txt').write_text('free')
    photo.convert('CMYK').save(source / 'rose' / 'cmyk.jpg')
    Image.new('RGB', (1, 1)).save(source / 'tulip' / 'dot.png')
    shutil.copy(source / 'rose' / '00.png', source / 'tulip' / 'copy.png')
    (source / 'tulip' / 'deep').mkdir()
    photo.save(source / 'tulip' / 'deep' / 'down.png')
    photos = prepare(source, tmp_path / 'out', size=32, quiet=True)
    with open(tmp_path / 'out' / 'report.csv') as f:
        report = {r['file']: (r['action'], r['reason']) for r in DictReader(f)}
    gone = 'rose/run_me.py', 'rose/empty.jpg', 'tulip/dot.png', 'LICENSE.txt'
    assert all(report[name][0] == 'removed' for name in gone)
    assert report['rose/cmyk.jpg'] [0] == 'normalised' and 'CMYK' in report['rose/cmyk.jpg'][1]
    assert report['tulip/copy.png'] == ('kept', 'the same pixels as rose/00.png')
    assert 'rose/.hidden' not in report and 'tulip/deep/down.png' in photos.files and photos.classes == ['rose',
        'tulip']
    info = json.loads((tmp_path / 'out' / 'data.json').read_text())
    assert info['removed'] == 4 and info['count'] == len(photos) == 33


def test_one_class_flat_folder_and_wrapped_folder(source, tmp_path):
    flat = prepare(source / 'rose', tmp_path / 'flat', size=32, quiet=True)
    assert flat.classes == ['photos'] and flat.path(0).exists() and flat.files[0] == '00.png'
    (tmp_path / 'wrap' / 'data').mkdir(parents=True)
    shutil.copytree(source, tmp_path / 'wrap' / 'data' / 'flowers')
    assert prepare(tmp_path / 'wrap', tmp_path / 'wrapped', size=32, quiet=True).classes == ['rose', 'tulip']
    shutil.rmtree(source / 'tulip')
    assert prepare(source, tmp_path / 'one', size=32, quiet=True).classes == ['rose']


def test_bad_folders(source, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('x')
    (tmp_path / 'texts' / 'rose').mkdir(parents=True)
    (tmp_path / 'texts' / 'rose' / 'a.jpg').write_text('x')
    for folder, error, reason in (('empty', ValueError, 'no files'), ('file', ValueError, 'not a folder'),
                                  ('none', FileNotFoundError, 'no such folder'),
                                  ('texts', ValueError, 'none of the 1 files')):
        with pytest.raises(error, match=reason) as e: prepare(tmp_path / folder, tmp_path / 'out', quiet=True)
        one_line(e)
        assert not (tmp_path / 'out' / 'data.json').exists()
    for out in (source, source / 'rose' / 'out'):
        with pytest.raises(ValueError, match='not to be changed') as e: prepare(source, out, quiet=True)
        one_line(e)
    with pytest.raises(ValueError, match='not a folder'): prepare(source, tmp_path / 'file', quiet=True)
    with pytest.raises(FileNotFoundError, match='no such folder'): PhotoSet.open(tmp_path / 'none')


# download

class Server(http.server.BaseHTTPRequestHandler):
    "Serves `content` with Range support; the first answers break off after `breaks` bytes each."
    content, breaks, ranges = b'', [], []

    def do_GET(self):
        if self.path == '/gone': return self.send_error(404, 'Not Found')
        match = re.match(r'bytes=(\d+)-', self.headers.get('Range', ''))
        start = int(match[1]) if match and self.path != '/norange' else 0
        Server.ranges.append(start)
        if start >= len(self.content): return self.send_error(416)
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[:Server.breaks.pop(0)] if Server.breaks else body)
    def log_message(self, *args): pass


@pytest.fixture
def server():
    Server.content, Server.breaks, Server.ranges = os.urandom(3_000_000), [], []
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{httpd.server_port}'
    httpd.shutdown()


def digest(): return hashlib.sha256(Server.content).hexdigest()


@pytest.mark.parametrize('page', ['/file', '/norange'])
def test_download_continues_where_it_broke_off(server, tmp_path, page):
    Server.breaks = [1_000_000, 700_000]
    path = download(server + page, tmp_path / 'x.tgz', digest(), quiet=True)
    assert path.read_bytes() == Server.content and [p.name for p in tmp_path.iterdir()] == ['x.tgz']
    if page == '/file': assert Server.ranges == [0, 1_000_000, 1_700_000]
    n = len(Server.ranges)
    download(server + page, tmp_path / 'x.tgz', digest(), quiet=True)
    assert len(Server.ranges) == n


def test_download_of_an_earlier_run_is_continued(server, tmp_path):
    (tmp_path / 'x.part').write_bytes(Server.content[:2_000_000])
    download(server + '/file', tmp_path / 'x', digest(), quiet=True)
    assert Server.ranges == [2_000_000]
    (tmp_path / 'y.part').write_bytes(Server.content)
    download(server + '/file', tmp_path / 'y', digest(), quiet=True)


def test_download_errors(server, tmp_path):
    with pytest.raises(ValueError, match='SHA-256') as e:
        download(server + '/file', tmp_path / 'x', '0' * 64, quiet=True)
    one_line(e)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConnectionError, match='404') as e:
        download(server + '/gone', tmp_path / 'x', digest(), quiet=True)
    one_line(e)
    with pytest.raises(ConnectionError, match='cannot be fetched') as e:
        download('http://127.0.0.1:9/x', tmp_path / 'x', digest(), tries=1, quiet=True)
    one_line(e)
    Server.breaks = [1000] * 2
    with pytest.raises(ConnectionError, match='run it again'):
        download(server + '/file', tmp_path / 'x', digest(), tries=2, quiet=True)
    assert (tmp_path / 'x.part').stat().st_size == 2000


def make_tar(path, members):
    with tarfile.open(path, 'w:gz') as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str): info.type, info.linkname = tarfile.SYMTYPE, content
            else: info.size = len(content)
            tar.addfile(info, None if isinstance(content, str) else io.BytesIO(content))
    return path.read_bytes()


def test_tensorflow_source(server, tmp_path, photo):
    buffer = io.BytesIO()
    photo.save(buffer, 'JPEG')
    Server.content = make_tar(tmp_path / 'a.tgz',
                              {f'flower_photos/{c}/1.jpg': buffer.getvalue()
                               for c in ('daisy', 'roses', 'sunflowers', 'tulips')} | {'flower_photos/LICENSE.txt':
                                   b'CC'})
    folder = tensorflow_source(tmp_path / 'root', server + '/file', digest(), quiet=True)
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ['daisy', 'rose', 'sunflower', 'tulip']
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    n = len(Server.ranges)
    assert tensorflow_source(tmp_path / 'root', server + '/file', digest(),
                             quiet=True) == folder and len(Server.ranges) == n
    assert prepare(folder, tmp_path / 'out', size=32, quiet=True).classes == ['daisy', 'rose', 'sunflower', 'tulip']


@pytest.mark.parametrize('members',
                         [{'../out.txt': b'x'}, {'top/a': '/etc/passwd'}, {'top/a': '../../up'},
                          {'a/1': b'', 'b/1': b''}, {}])
def test_unsafe_archives(members, tmp_path):
    make_tar(tmp_path / 'a.tgz', members)
    with pytest.raises(ValueError, match='cannot be unpacked') as e:
        unpack(tmp_path / 'a.tgz', tmp_path / 'in' / 'folder')
    one_line(e)
    assert not (tmp_path / 'in' / 'folder').exists() and not (tmp_path
        / 'out.txt').exists() and not list(tmp_path.rglob('*.tmp'))
    (tmp_path / 'b.tgz').write_bytes(b'no archive')
    with pytest.raises(ValueError, match='cannot be unpacked'): unpack(tmp_path / 'b.tgz', tmp_path / 'folder')


# augmentation

def test_views_are_a_function_of_seed_epoch_and_index():
    index = torch.randperm(1000)[:200]
    theta = augment_affine(index, seed=5, epoch=9)
    for k in (0, 57, 199): assert torch.equal(augment_affine(index[k:k + 1], seed=5, epoch=9)[0], theta[k])
    views = torch.cat([augment_affine(np.arange(300), seed=s, epoch=e) for s in range(3) for e in range(3)]).flatten(1)
    assert len(torch.unique(views, dim=0)) == 2700


def test_views_stay_close_to_the_picture():
    theta = augment_affine(np.arange(5000))
    corners = torch.tensor([[-1., -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T
    assert (theta @ corners).abs().max() < 1.6
    share = torch.linalg.det(theta[:, :, :2]).abs()
    assert 0.4 < share.min() and share.max() <= 1.001 and 0.65 < share.mean() < 0.85


def test_planes_move_together_and_nearest_mixes_nothing():
    x = torch.rand(4, 1, 160, 160)
    theta = augment_affine([1, 2, 3, 4], epoch=7)
    joint = apply_affine(torch.cat([x, x * 3 + 1], 1), theta)
    assert torch.allclose(joint[:, 1], joint[:, 0] * 3 + 1, atol=1e-4)
    labels = (x * 5).floor()
    assert set(apply_affine(labels, theta, mode='nearest').unique().tolist()) <= set(labels.unique().tolist())
    assert torch.isfinite(joint).all() and joint.shape == (4, 2, 128, 128)
