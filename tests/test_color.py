"The whole gamut against scikit-image, and gradients where they are dangerous."
import numpy as np, pytest, torch
from skimage import color as skcolor
from colorize_nb.color import fit_gamut, lab_to_rgb, rgb_to_lab, rotate_hue, to_tensor, to_uint8

@pytest.mark.parametrize('red', range(0, 256, 15))
def test_every_green_and_blue(red):
    plane = np.full((256, 256, 3), red, np.uint8)
    plane[..., 1], plane[..., 2] = np.mgrid[:256, :256]
    theirs = torch.from_numpy(skcolor.rgb2lab(plane)).movedim(-1, 0)
    ours = rgb_to_lab(to_tensor(plane))
    assert (ours - theirs).abs().max() < 1e-3
    assert (lab_to_rgb(ours) - to_tensor(plane)).abs().max() < 1e-4
    assert (to_uint8(lab_to_rgb(ours)) == plane).all()

@pytest.mark.parametrize('value', [0., 1e-8, 0.0031308, 0.04045, 0.5, 1.])
def test_gradients_are_finite(value):
    rgb = torch.full((2, 3, 4, 4), value, requires_grad=True)
    (rgb_to_lab(rgb) ** 2).sum().backward()
    lab = torch.full((2, 3, 4, 4), value, requires_grad=True)
    (lab_to_rgb(lab) ** 2).sum().backward()
    assert rgb.grad.isfinite().all() and lab.grad.isfinite().all()

@pytest.mark.parametrize('seed', range(5))
def test_gamut_keeps_lightness_and_hue(seed):
    g = torch.Generator().manual_seed(seed)
    lab = torch.rand(2, 3, 64, 64, generator=g) * torch.tensor([100., 240, 240])[:, None,
        None] - torch.tensor([0., 120, 120])[:, None, None]
    fitted = fit_gamut(lab)
    shown = rgb_to_lab(to_tensor(to_uint8(lab_to_rgb(fitted))))
    assert (fitted[:, 0] == lab[:, 0]).all()
    assert (shown[:, 0] - lab[:, 0]).abs().max() <= 0.7
    cross = fitted[:, 1] * lab[:, 2] - fitted[:, 2] * lab[:, 1]
    assert cross.abs().max() < 1e-2
    assert (fitted[:, 1:].norm(dim=1) <= lab[:, 1:].norm(dim=1) + 1e-4).all()

def test_batches_equal_single_pictures():
    lab = torch.rand(3, 3, 16, 16) * 60
    assert torch.equal(torch.stack([fit_gamut(one) for one in lab]), fit_gamut(lab))
    assert torch.allclose(rotate_hue(lab[:, 1:], torch.tensor([10., 20., 30.]))[2], rotate_hue(lab[2, 1:], 30.))
