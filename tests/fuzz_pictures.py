"""Damaged pictures through the loader, in a process of its own.

`fuzz_pictures.py N [FIRST]` opens N mutated files and prints one JSON line for each; `fuzz_pictures.py atheris SECONDS`
lets atheris look for files that do more than be refused."""
import io, json, sys, time
import numpy as np
from PIL import Image, ImageCms

def seeds():
    "Small good files of every format, several kinds of each."
    ramp = np.linspace(0, 200, 40 * 30 * 3).reshape(30, 40, 3)
    rgb = Image.fromarray((ramp + np.random.default_rng(0).integers(0, 50, ramp.shape)).astype(np.uint8))
    deep = Image.fromarray(np.asarray(rgb.convert('L')).astype(np.uint16) * 257)
    clear, few = rgb.convert('RGBA'), rgb.quantize
    exif = Image.Exif()
    exif[0x0112], exif[315] = 6, 'somebody'
    notes = dict(exif=exif, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    more = lambda other: dict(save_all=True, append_images=[other])
    plans = [(rgb, 'JPEG', notes), (rgb, 'JPEG', dict(progressive=True)), (rgb.convert('CMYK'), 'JPEG', {}),
             (rgb.convert('L'), 'JPEG', {}), (rgb, 'PNG', notes), (clear, 'PNG', {}), (deep, 'PNG', {}),
             (few(16), 'PNG', dict(transparency=3)), (rgb.convert('1'), 'PNG', {}), (rgb, 'TIFF', {}),
             (rgb, 'TIFF', dict(compression='tiff_lzw')), (rgb, 'WEBP', dict(lossless=True, **notes)),
             (rgb, 'TIFF', dict(compression='tiff_adobe_deflate', **notes)),
             (rgb, 'TIFF', dict(compression='jpeg')), (rgb.convert('1'), 'TIFF', dict(compression='group4')),
             (deep, 'TIFF', {}), (rgb, 'TIFF', more(rgb)), (rgb, 'WEBP', {}),
             (clear, 'WEBP', more(clear.transpose(0))), (few(64), 'GIF', {}), (few(64), 'GIF', more(few(32))),
             (rgb, 'BMP', {}), (few(8), 'BMP', {}), (rgb.convert('1'), 'BMP', {})]
    files = []
    for image, kind, options in plans:
        image.save(file := io.BytesIO(), kind, **options)
        files.append((kind, file.getvalue()))
    return files

def mutated(data, seed):
    "Flip, overwrite, cut out, double and cut off random parts of a file; the head is hit as often as the rest."
    rng, bad = np.random.default_rng(seed), bytearray(data)
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(min(len(bad), 64 if rng.random() < .5 else len(bad)) or 1))
        n = int(rng.integers(1, 5) if rng.random() < .7 else rng.integers(1, 200))
        match rng.integers(5):
            case 0: bad[at:at + 1] = bytes([bad[at] ^ 1 << int(rng.integers(8))]) if bad else b''
            case 1: bad[at:at + n] = rng.bytes(n)
            case 2: bad[at:at + n] = bytes([int(rng.choice([0, 127, 128, 255]))]) * n
            case 3: bad[at:at] = bad[at:at + n]
            case _: del bad[at:at + n if rng.random() < .7 else None]
    return bytes(bad)

def main(count, first=0):
    from colorize_nb.data.pictures import PictureError, open_picture
    files = seeds()
    for seed in range(first, first + count):
        kind, data = files[seed % len(files)]
        bad = mutated(data, seed)
        print(json.dumps({'start': seed}), flush=True)
        start, said = time.perf_counter(), None
        try: open_picture(bad)
        except PictureError as e: said = str(e)
        took = time.perf_counter() - start
        print(json.dumps({'seed': seed, 'kind': kind, 'said': said, 'seconds': took}), flush=True)

def fuzz(seconds):
    import atheris
    with atheris.instrument_imports(include=['PIL', 'colorize_nb.data.pictures']):
        from colorize_nb.data.pictures import PictureError, open_picture
    def one(data):
        try: open_picture(data, max_pixels=1_000_000)
        except PictureError as e:
            if '\n' in str(e): raise RuntimeError('more than one line') from e
    import tempfile
    from pathlib import Path
    with tempfile.TemporaryDirectory() as corpus:
        for i, (_, data) in enumerate(seeds()): (Path(corpus) / str(i)).write_bytes(data)
        limits = [f'-max_total_time={seconds}', '-timeout=10', '-rss_limit_mb=4096']
        atheris.Setup([sys.argv[0], corpus, *limits, '-print_final_stats=1', '-artifact_prefix=out/'], one)
        atheris.Fuzz()

if __name__ == '__main__':
    if sys.argv[1] == 'atheris': fuzz(int(sys.argv[2]))
    else: main(*map(int, sys.argv[1:]))
