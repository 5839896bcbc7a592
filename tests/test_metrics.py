"Measures: hand-computed values, the traps of published evaluation code, sizes, batches."
import urllib.request

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorize_nb.evaluate import metrics
from colorize_nb.color import lab_to_rgb, to_tensor

PAIRWISE = [metrics.psnr, metrics.psnr_ab, metrics.ssim, metrics.ciede2000, metrics.turned_green]
ANY_SIZE = [metrics.histogram_intersection, metrics.colours_reached]
ALONE = [metrics.colourfulness, metrics.feature_size, metrics.leaf_green, metrics.ab_histogram]


def picture(seed=0, size=(3, 24, 32)): return torch.rand(size, generator=torch.Generator().manual_seed(seed))
def constant(value, size=(24, 24)):
    return torch.as_tensor(value, dtype=torch.float32).expand(3)[:, None, None].expand(3, *size)


@pytest.mark.parametrize('measure', PAIRWISE + ANY_SIZE)
def test_uint8_and_0_255_are_refused(measure):
    good = picture()
    for bad, words in [((good * 255).byte(), 'color.to_tensor'), ((good * 255).byte().numpy(), 'color.to_tensor'),
                       (good.numpy(), 'color.to_tensor'),
                       (good * 255, 'divide a picture in 0-255'), (good * 2 - 1, 'expected RGB in'),
                       (good * torch.nan, 'got nan'), (good[:2], '3, H, W')]:
        for pair in ((bad, good), (good, bad)):
            with pytest.raises(ValueError, match=words): measure(*pair)


@pytest.mark.parametrize('measure', ALONE)
def test_measures_of_one_picture_refuse_too(measure):
    with pytest.raises(ValueError, match='color.to_tensor'): measure((picture() * 255).byte())
    with pytest.raises(ValueError, match='0-255'): measure(picture() * 255)


def test_sizes_that_differ():
    for measure in PAIRWISE:
        with pytest.raises(ValueError, match='sizes differ'): measure(picture(), picture(size=(3, 24, 31)))
    for measure in ANY_SIZE: assert 0 <= measure(picture(), picture(1, (3, 50, 11))).item() <= 1


def test_wrapped_integers_would_have_flattered():
    a, b = (np.random.default_rng(s).integers(0, 256, (32, 32, 3), dtype=np.uint8) for s in (0, 1))
    wrapped = 10 * np.log10(255 ** 2 / ((a - b) ** 2).mean())
    true = peak_signal_noise_ratio(a, b)
    assert wrapped > true + 10
    assert metrics.psnr(to_tensor(a), to_tensor(b)).item() == pytest.approx(true, abs=1e-3)


@pytest.mark.parametrize('low, high, expected', [(.5, .6, 20), (0, 1, 0), (.25, .75, 10 * np.log10(4))])
def test_psnr_by_hand(low, high, expected):
    assert metrics.psnr(constant(low), constant(high)).item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('shift', [(10, 0), (0, -6), (3, 4)])
def test_psnr_ab_by_hand(shift):
    lab = constant([60, 5, 20])
    moved = lab + torch.tensor([0, *shift])[:, None, None]
    expected = 10 * np.log10(255 ** 2 / (np.square(shift).sum() / 2))
    assert metrics.psnr_ab(lab_to_rgb(moved), lab_to_rgb(lab)).item() == pytest.approx(expected, abs=.02)


def test_psnr_ab_does_not_see_lightness():
    assert metrics.psnr_ab(constant(.3), constant(.8)).item() > 60


@pytest.mark.parametrize('size', [(11, 11), (16, 40), (33, 17)])
def test_ssim_is_scikit_images(size):
    a, b = picture(0, (3, *size)), picture(1, (3, *size))
    theirs = structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5,
                                   use_sample_covariance=False)
    assert metrics.ssim(a, b).item() == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize('first, second, expected', [  # rows of the test data of Sharma, Wu & Dalal, 2005
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425), ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, .0795, -1.135), (.9033, -.0636, -.5514), .9082)])
def test_ciede2000_on_sharmas_data(first, second, expected):
    assert metrics._ciede2000(constant(first), constant(second)).item() == pytest.approx(expected, abs=1e-3)


def test_colourfulness_is_signed():
    halves = torch.zeros(3, 8, 8); halves[0, :4], halves[1, 4:] = 1, 1
    assert metrics.colourfulness(halves).item() == pytest.approx(255 + .3 * 127.5, abs=1e-2)


def test_constant_pictures():
    gray, red = constant(.5), constant([.9, .1, .1])
    for same in (gray, red):
        assert metrics.psnr(same, same) == metrics.psnr_ab(same, same) == 100
        assert metrics.ssim(same, same).item() == pytest.approx(1, abs=1e-5)
        assert metrics.ciede2000(same, same) == 0 and metrics.histogram_intersection(same,
            same).item() == pytest.approx(1)
        assert metrics.colours_reached(same, same) == 1 and metrics.feature_size(same) == 24
    assert metrics.colourfulness(gray).item() == pytest.approx(0, abs=1e-4)
    assert metrics.histogram_intersection(gray, red) == metrics.colours_reached(gray, red) == 0
    assert metrics.turned_green(red, gray).isnan()
    assert metrics.diversity(torch.stack([gray, gray])) == 0


@pytest.mark.parametrize('level', np.linspace(0, 1, 9))
def test_grey_lies_in_one_bin(level):
    assert metrics.ab_histogram(constant(level)).max().item() == pytest.approx(1)
    assert metrics.ab_histogram(constant(level))[16, 16].item() == pytest.approx(1)


def test_batches_are_their_pictures():
    a, b = picture(0, (5, 3, 16, 20)), picture(1, (5, 3, 16, 20))
    for measure in PAIRWISE + ANY_SIZE:
        torch.testing.assert_close(measure(a, b), torch.stack([measure(x, y) for x, y in zip(a, b)]), atol=1e-3,
                                   rtol=1e-4)
    for measure in (metrics.colourfulness, metrics.feature_size):
        torch.testing.assert_close(measure(a), torch.stack([measure(x) for x in a]), atol=1e-3, rtol=1e-4)
    assert metrics.psnr(a.view(5, 1, 3, 16, 20), b.view(5, 1, 3, 16, 20)).shape == (5, 1)
    for name, values in metrics.all_measures(a, b, b).items(): assert values.shape == (5,), name


def test_inputs_are_left_alone():
    a, b = picture(0), picture(1)
    copies = a.clone(), b.clone()
    metrics.all_measures(a, b, b)
    assert torch.equal(a, copies[0]) and torch.equal(b, copies[1])


@pytest.mark.parametrize('measure',
                         PAIRWISE + ANY_SIZE + [metrics.colourfulness, metrics.diversity, metrics.feature_size,
                             metrics.top1, metrics.lpips, metrics.kid, metrics.fid])
def test_docstrings_say_formula_range_and_source(measure):
    for word in ('Formula:', 'Range:', 'Source:'): assert word in measure.__doc__, word


def test_kid_and_fid():
    draw = torch.Generator().manual_seed(0)
    a, b, far = (torch.randn(120, 16, generator=draw) + shift for shift in (0, 0, 1))
    assert metrics.kid(a, b) == metrics.kid(a, b)
    assert abs(metrics.kid(a, b)[0]) < .1 * metrics.kid(far, b)[0]
    points = torch.tensor([[0., 0], [1, 0], [0, 1], [1, 1]])
    assert metrics.fid(points + 2, points) == pytest.approx(8, abs=1e-3)
    state = torch.random.get_rng_state(); metrics.kid(a, b)
    assert torch.equal(state, torch.random.get_rng_state())


def test_nothing_is_downloaded(monkeypatch, tmp_path):
    def refuse(*args, **kwargs): raise AssertionError('a download was tried')
    monkeypatch.setattr(urllib.request, 'urlopen', refuse)
    for load in (metrics.lpips_net, metrics.inception_net):
        with pytest.raises(FileNotFoundError, match='no such file'): load(tmp_path / 'weights.pth')
    from torchvision.models import alexnet
    torch.save(alexnet(weights=None).state_dict(), tmp_path / 'alex.pth')
    net = metrics.lpips_net(tmp_path / 'alex.pth')
    a = picture(0, (2, 3, 64, 64))
    assert torch.equal(metrics.lpips(net, a, a), torch.zeros(2))
    with pytest.raises(ValueError, match='0-255'): metrics.lpips(net, a * 255, a)


def test_lpips_by_path_is_torchmetrics_lpips(tmp_path, monkeypatch):
    from torchmetrics.functional.image.lpips import _LPIPS
    from torchvision.models import alexnet
    torch.manual_seed(0)
    trunk = alexnet(weights=None)
    torch.save(trunk.state_dict(), tmp_path / 'alex.pth')
    monkeypatch.setattr('torchmetrics.functional.image.lpips._get_tv_model_features', lambda name,
                        pretrained: trunk.features)
    theirs, ours = _LPIPS(net='alex'), metrics.lpips_net(tmp_path / 'alex.pth')
    a, b = picture(0, (2, 3, 64, 64)), picture(1, (2, 3, 64, 64))
    torch.testing.assert_close(metrics.lpips(ours, a, b), theirs(a, b, normalize=True).flatten())
