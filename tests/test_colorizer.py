"The colouring path: what it imports, which sizes it takes, what it promises about lightness."
import subprocess, sys
import numpy as np, pytest, torch
from PIL import Image
from colorize_nb.color import rgb_to_lab, to_tensor
from colorize_nb.colorizer import Colorizer, correspond
from colorize_nb.data.garden import draw_flower
from colorize_nb.fullsize import join_full_size
from colorize_nb.features import similarity_net
from colorize_nb.match.field import warp

HEAVY = ('fastai', 'matplotlib', 'gradio', 'sklearn', 'torchmetrics', 'kagglehub')

ROOMS = 'color', 'data.photos', 'features', 'match.cpu', 'unet', 'colorizer', 'demo', 'cli'

@pytest.mark.parametrize('module', ROOMS)
def test_the_colouring_path_imports_nothing_heavy(module):
    code = f'import sys, colorize_nb.{module}; print([m for m in {HEAVY!r} if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          check=True).stdout.strip() == '[]'

def lightness(picture): return rgb_to_lab(to_tensor(np.asarray(picture.convert('RGB'))))[0]

@pytest.mark.parametrize('size', [(1, 1), (2, 300), (37, 53), (160, 160), (640, 411)])
@pytest.mark.parametrize('with_reference', [True, False])
def test_size_and_lightness_are_the_targets(model, size, with_reference):
    target = Image.fromarray(draw_flower('daisy', seed=1, size=200)).resize(size)
    out = Colorizer.from_pretrained(model)(target,
        draw_flower('daisy', seed=2, colouring=1, size=90) if with_reference else None)
    assert out.size == size and out.mode == 'RGB'
    assert (lightness(out) - lightness(target)).abs().max() <= 0.7

def test_wild_colours_keep_lightness():
    photo = Image.fromarray(draw_flower('rose', seed=1, size=120))
    out = join_full_size(photo, torch.randn(2, 30, 30, generator=torch.Generator().manual_seed(0)) * 200)
    assert (lightness(out) - lightness(photo)).abs().max() <= 0.7

def test_a_second_call_gives_the_same_picture(model):
    colorizer, pictures = Colorizer.from_pretrained(model), [draw_flower('tulip', seed=s, size=100) for s in (1, 2)]
    assert (np.asarray(colorizer(*pictures)) == np.asarray(colorizer(*pictures))).all()

def test_unequal_sizes_there_and_back():
    net, _ = similarity_net('L', 'untrained')
    lab = [rgb_to_lab(to_tensor(draw_flower('tulip', seed=s, size=n)))[None] for s, n in ((1, 96), (2, 128))]
    found = correspond(net, lab[0][:, :1], lab[1][:, :1])
    assert found.reference_map == (64, 64) and found.there.max() < 64 * 64 and found.back.max() < 48 * 48
    p = (20, 30)
    q = found.there[0][p].item()
    turned = correspond(net, lab[1][:, :1], lab[0][:, :1])
    assert warp(lab[1][:, 1:], found.there, (64, 64), (96, 96)).shape == (1, 2, 96, 96)
    assert warp(lab[0][:, 1:], found.back, (48, 48), (96, 96)).shape == (1, 2, 96, 96)
    assert turned.reference_map == (48, 48) and 0 <= q < 64 * 64

def test_default_model_follows_references():
    from colorize_nb.demo import demo_scene, follows_references
    colorizer = Colorizer.from_pretrained()
    for kind in ('tulip', 'daisy'):
        scene = demo_scene(kind)
        outputs = [colorizer(scene['grey'], reference) for reference in scene['references']]
        assert all(follows_references(scene, outputs))
