"Any picture in, one line when not; results whole, with what they inherit."
import io, os, stat, subprocess, sys
import numpy as np, pytest
from PIL import Image, ImageCms
from colorize_nb.data.garden import draw_flower
from colorize_nb.data.pictures import PictureError, encode_picture, load_image, open_picture, save_picture

@pytest.fixture(scope='module')
def rose(): return Image.fromarray(draw_flower('rose', 4, size=96))

def content(image, kind, **options):
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()

def off(a, b): return np.abs(np.asarray(a).astype(int) - np.asarray(b)).mean()

KINDS = {'JPEG': 'L RGB CMYK YCbCr', 'PNG': '1 L LA P RGB RGBA I;16', 'TIFF': '1 L RGB RGBA CMYK LAB I;16 I F',
         'WEBP': 'RGB RGBA', 'GIF': 'P', 'BMP': '1 L P RGB'}

def as_mode(rose, mode):
    "The rose in any of Pillow's modes."
    grey = np.asarray(rose.convert('L'))
    if mode == 'I;16': return Image.fromarray(grey.astype(np.uint16) * 257)
    if mode == 'F': return Image.fromarray(grey.astype(np.float32) / 255)
    if mode == 'P': return rose.quantize(128)
    if mode != 'LAB': return rose.convert(mode)
    srgb, lab = (ImageCms.createProfile(name) for name in ('sRGB', 'LAB'))
    return ImageCms.applyTransform(rose, ImageCms.buildTransform(srgb, lab, 'RGB', 'LAB'))

@pytest.mark.parametrize('kind, mode', [(kind, mode) for kind, modes in KINDS.items() for mode in modes.split()])
def test_every_mode_of_every_format(kind, mode, rose):
    grey, image = np.asarray(rose.convert('L')), as_mode(rose, mode)
    picture = open_picture(content(image, kind))
    assert picture.image.mode == 'RGB' and picture.image.size == rose.size and picture.format == kind
    if mode != '1': assert np.abs(np.asarray(picture.image.convert('L')).astype(int) - grey).mean() < 8
    assert picture.alpha is None

@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation(kind, orientation, rose):
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = rose.transpose(Image.Transpose(turn[orientation])) if orientation > 1 else rose
    exif = Image.Exif()
    exif[0x0112], exif[315] = orientation, 'somebody'
    picture = open_picture(content(stored, kind, exif=exif, quality=95))
    assert off(picture.image, rose) < 6
    again = Image.open(io.BytesIO(encode_picture(picture.image, 'jpg', like=picture))).getexif()
    assert again[315] == 'somebody' and 0x0112 not in again

def test_transparency_survives_where_it_can(rose, tmp_path):
    clear = rose.copy()
    clear.putalpha(Image.fromarray(np.arange(96 * 96, dtype=np.uint16).reshape(96, 96).astype(np.uint8)))
    picture = open_picture(content(clear, 'PNG'))
    for suffix in ('.png', '.webp', '.tif'):
        save_picture(picture.image, tmp_path / f'x{suffix}', like=picture)
        assert np.array_equal(np.asarray(open_picture(tmp_path / f'x{suffix}').alpha), np.asarray(picture.alpha))
    for suffix in ('.jpg', '.bmp'):
        save_picture(picture.image, tmp_path / f'x{suffix}', like=picture)
        assert open_picture(tmp_path / f'x{suffix}').alpha is None

def test_grey_and_cmyk_with_profiles_that_do_not_fit(rose):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    for mode in ('L', 'CMYK'):
        picture = open_picture(content(rose.convert(mode), 'JPEG', icc_profile=profile))
        assert picture.image.size == rose.size and 'unusable colour profile ignored' in picture.notes

@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'WEBP', 'TIFF', 'BMP'])
def test_truncated(kind, rose):
    whole = content(rose, kind)
    for share in (.02, .3, .6, .9):
        with pytest.raises(PictureError) as e: load_image(whole[:int(len(whole) * share)])
        assert '\n' not in str(e.value) and len(str(e.value)) < 400

def test_special_files_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    for path in (tmp_path / 'pipe.jpg', '/dev/zero'):
        with pytest.raises(PictureError, match='not an ordinary file'): load_image(path)
    with pytest.raises(ValueError): load_image('a\0b.png')
    with pytest.raises((PictureError, OSError)): load_image('x' * 5000)

def test_from_a_pipe(rose):
    code = ('import sys; from colorize_nb.data.pictures import *; '
            "save_picture(load_image(sys.stdin.buffer), sys.stdout.buffer, 'bmp')")
    done = subprocess.run([sys.executable, '-c', code], input=content(rose, 'PNG'), capture_output=True)
    assert np.array_equal(np.asarray(load_image(done.stdout)), np.asarray(rose)), done.stderr

def test_bombs_cost_no_memory(tmp_path):
    Image.new('1', (30000, 30000)).save(tmp_path / 'bomb.png')
    Image.new('L', (12000, 12000)).save(tmp_path / 'bomb.tif', compression='tiff_adobe_deflate')
    code = f"""
import resource
from PIL import Image
from colorize_nb.data.pictures import *
load_image(encode_picture(Image.new('RGB', (9, 9)), 'png')); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in ('bomb.png', 'bomb.tif'):
    try: load_image({str(tmp_path)!r} + '/' + name)
    except PictureError as e: print(e)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"""
    lines = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 3 and all('million' in line for line in lines[:2]) and int(lines[2]) < 20_000, lines

def test_heic(rose):
    heif = pytest.importorskip('pillow_heif', reason='the extra `heic` is not installed')
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    data = content(rose.transpose(Image.Transpose.ROTATE_90), 'HEIF', exif=exif.tobytes(), quality=95)
    assert load_image(data).size == rose.size
    with pytest.raises(PictureError): load_image(data[:len(data) // 2])

def test_a_failed_write_leaves_the_old_file(rose, tmp_path, monkeypatch):
    save_picture(rose, tmp_path / 'x.png')
    before = (tmp_path / 'x.png').read_bytes()
    def full(*_): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError): save_picture(rose.transpose(0), tmp_path / 'x.png')
    assert (tmp_path / 'x.png').read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['x.png']

@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_read_only_folder(rose, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OSError): save_picture(rose, tmp_path / 'x.png')
    tmp_path.chmod(stat.S_IRWXU)

@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
def test_a_profile_counts_once(mode, rose):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    swapped = profile.replace(b'rXYZ', b'!!!!').replace(b'gXYZ', b'rXYZ').replace(b'!!!!', b'gXYZ')
    once = load_image(content(rose.convert(mode), 'TIFF', icc_profile=swapped))
    assert np.array_equal(np.asarray(load_image(once)), np.asarray(once))

def test_later_frames_are_counted_not_decoded(rose):
    others = [rose.transpose(0).quantize(8)] * 3
    moving = bytearray(content(rose.quantize(8), 'GIF', save_all=True, append_images=others))
    last = moving.rindex(b'\x2c') # a later frame that claims to be 10,000 x 10,000
    moving[last + 5:last + 9] = (10_000).to_bytes(2, 'little') * 2
    try: assert open_picture(bytes(moving)).image.size == rose.size
    except PictureError: pass
