"Where base weights come from: torchvision's hub cache stands in for ImageNet's weights, which tests do not download."
import os
import numpy as np
import pytest
import torch
from torchvision.models import ResNet34_Weights, resnet34
from colorize_nb.data.garden import draw_flower
from colorize_nb.data.photos import prepare
from colorize_nb.features import load_base, load_net, similarity_net
from conftest import cli

@pytest.fixture
def hub_file(tmp_path, monkeypatch):
    "Where torchvision looks for ImageNet's ResNet34 before it downloads it."
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    path = tmp_path / 'torch' / 'hub' / 'checkpoints' / ResNet34_Weights.IMAGENET1K_V1.url.split('/')[-1]
    path.parent.mkdir(parents=True)
    return path

def stand_in(path):
    torch.manual_seed(7)
    state = resnet34().state_dict()
    torch.save(state, path)
    return state

def test_imagenet_comes_from_the_hub_cache(hub_file):
    state = stand_in(hub_file)
    for base in ('imagenet', None):
        found, about = load_base(base)
        assert 'ImageNet' in about
        assert all(torch.equal(found[name], state[name]) for name in state)
    net, _ = similarity_net('RGB', 'imagenet')
    assert torch.equal(net.body.conv1.weight, state['conv1.weight'])

def test_l_copy_of_the_stand_in_sees_a_grey_picture_alike(hub_file):
    stand_in(hub_file)
    rgb, l = (similarity_net(space, 'imagenet')[0] for space in ('RGB', 'L'))
    light = torch.rand(1, 1, 64, 64)
    from colorize_nb.color import rgb_to_lab
    grey = light.expand(1, 3, 64, 64)
    first = rgb.body(rgb.normalize(grey))[0], l.body(l.normalize(rgb_to_lab(grey)[:, :1]))[0]
    assert np.corrcoef(*(x.flatten().detach().numpy() for x in first))[0, 1] > 0.99

def test_cached_file_with_code_is_refused(hub_file, tmp_path):
    class Evil:
        def __reduce__(self): return (os.mkdir, (str(tmp_path / 'executed'),))
    torch.save({'conv1.weight': Evil()}, hub_file)
    with pytest.raises(ValueError, match='name a weights file instead'): load_base('imagenet')
    assert not (tmp_path / 'executed').exists()

def test_similarity_command_with_base_imagenet(hub_file, tmp_path):
    from PIL import Image
    stand_in(hub_file)
    for i in range(24):
        kind = ('daisy', 'tulip')[i % 2]
        (tmp_path / 'photos' / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_flower(kind, seed=i, colouring=i % 3, size=64)).save(tmp_path / 'photos' / kind
            / f'{i}.png')
    prepare(tmp_path / 'photos', tmp_path / 'data', size=64)
    done = cli('similarity', '--data', tmp_path / 'data', '--space', 'L', '--base', 'imagenet', '--epochs', 1, '--out',
               tmp_path / 'sim')
    assert done.returncode == 0, done.stderr
    assert load_net(tmp_path / 'sim' / 'model.safetensors').space == 'L'
    assert 'ImageNet' in (tmp_path / 'sim' / 'best.json').read_text()

def test_base_imagenet_without_cache_or_network_says_what_to_do(hub_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda *a, **k: (_ for _ in ()).throw(OSError('no network')))
    with pytest.raises(ValueError, match='name a weights file instead'): load_base('imagenet')
