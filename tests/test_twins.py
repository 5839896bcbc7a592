"Mining of twins: equal to a slow specification, never a duplicate, never grey, never from validation."
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from colorize_nb.color import to_tensor
from colorize_nb.data.photos import PhotoSet
from colorize_nb.evaluate import metrics
from colorize_nb.train import twins


def embed(images):
    "A cheap description of a picture: its lightness in 36 cells."
    light = to_tensor(np.asarray(images)).mean(1, keepdim=True)
    cells = F.interpolate(light, size=(6, 6), mode='bilinear', antialias=True).flatten(1)
    return F.normalize(cells - cells.mean(1, keepdim=True), dim=1)


@pytest.fixture(scope='module')
def photos(): return PhotoSet.drawn(n=90, size=64, seed=11)


def slowly(photos, targets, count, nearest):
    "The specification, pair by pair."
    shares, chroma = twins.colour_shares(photos.images)
    shares, deep, found = F.normalize(shares.half().float(), p=1), embed(photos.images).half().float(), []
    group = np.arange(len(photos)) if photos.groups is None else photos.groups
    for t in targets:
        if chroma[t] < twins.CHROMA: continue
        peers = [r for r in photos.train_idx if photos.labels[r] == photos.labels[t] and group[r] != group[t]]
        close = {r: (deep[t] @ deep[r]).item() for r in peers}
        peers = sorted(peers, key=lambda r: -close[r])[:nearest or None]
        shared = {r: torch.minimum(shares[t], shares[r]).sum().item() for r in peers if close[r] <= twins.MOST}
        fits = sorted((r for r, s in shared.items() if twins.LEAST <= s <= twins.MOST), key=lambda r: -shared[r])
        found += [(int(t), int(r)) for r in fits[:count]]
    return sorted(found)


@pytest.mark.parametrize('count, nearest', [(1, 0), (6, 0), (6, 3), (2, 10)])
def test_equal_to_the_specification(photos, count, nearest):
    for targets in (photos.train_idx, photos.valid_idx):
        pairs = twins.find_twins(photos, targets, count, nearest, embed)
        assert sorted(zip(pairs.targets.tolist(), pairs.twins.tolist())) == slowly(photos, targets, count, nearest)
        assert len(pairs.targets) and (pairs.targets != pairs.twins).all()
        assert not photos.valid[pairs.twins].any() and np.isin(pairs.targets, targets).all()


def test_best_first(photos):
    pairs = twins.find_twins(photos, count=6, embed=embed)
    for t in np.unique(pairs.targets): assert (np.diff(pairs.shared[pairs.targets == t]) <= 0).all()


def test_twins_of_drawn_flowers_have_their_colouring(photos):
    pairs = twins.find_twins(photos, count=1, embed=embed)
    colouring = np.array([file.split('-')[1] for file in photos.files])
    assert (photos.labels[pairs.targets] == photos.labels[pairs.twins]).all()
    assert (colouring[pairs.targets] == colouring[pairs.twins]).mean() > .9


def test_shares_are_the_blurred_histogram_of_the_metrics(photos):
    images = PhotoSet.drawn(n=5, size=twins.SIDE, seed=2).images
    shares, chroma = twins.colour_shares(images)
    sharp = metrics.ab_histogram(to_tensor(images))
    wave = torch.exp(-torch.arange(-8., 9.) ** 2 / 2)
    blurred = F.conv2d(sharp[:, None], torch.outer(wave, wave)[None, None], padding=8)
    assert torch.allclose(shares.view(5, 33, 33), F.normalize(blurred.flatten(1), p=1).view(5, 33, 33), atol=1e-5)
    assert chroma.min() > 0


def test_duplicates_are_no_twins(photos):
    again = photos.images.copy()
    again[1::2] = again[::2] # each picture twice ...
    labels = photos.labels.copy(); labels[1::2] = labels[::2]
    double = replace(photos, images=again, labels=labels)
    pairs = twins.find_twins(double, np.arange(len(double)), embed=embed)
    assert len(pairs.targets) and (pairs.targets // 2 != pairs.twins // 2).all()
    noise = np.random.default_rng(0).integers(0, 60, again.shape, dtype=np.uint8) # ... and too different to be noticed
    groups = np.arange(len(photos)) // 2 * 2
    known = replace(double, images=again // 2 + noise, groups=groups)
    pairs = twins.find_twins(known, np.arange(len(known)), nearest=0, embed=embed)
    assert len(pairs.targets) and (groups[pairs.targets] != groups[pairs.twins]).all()


def test_grey_targets_are_left_out(photos):
    images = photos.images.copy()
    images[::3] = images[::3].mean(-1, keepdims=True).astype(np.uint8)
    pairs = twins.find_twins(replace(photos, images=images), nearest=0, embed=embed)
    assert len(pairs.targets) and (pairs.targets % 3 > 0).all() and (pairs.twins % 3 > 0).all()


def test_one_class_means_the_ten_most_alike(photos):
    flat = replace(photos, labels=photos.labels * 0, classes=['photos'])
    found = [twins.find_twins(flat, count=3, nearest=nearest, embed=embed) for nearest in (None, 10, 0)]
    assert all(np.array_equal(a, b) for a, b in zip(*found[:2])) and len(found[2].targets) > len(found[0].targets)


def test_nothing_to_pair(photos):
    alone = replace(photos, valid=np.ones(len(photos), bool))
    for targets in (None, alone.valid_idx): assert len(twins.find_twins(alone, targets, embed=embed).targets) == 0


def test_embedded_photos_are_kept(photos, tmp_path):
    calls = []
    def counted(images): return calls.append(len(images)) or embed(images)
    first = twins.embed_photos(photos, counted, tmp_path)
    assert sum(calls) == len(photos) and torch.equal(twins.embed_photos(photos, counted, tmp_path), first)
    assert sum(calls) == len(photos)
    twins.embed_photos(replace(photos, files=photos.files[::-1]), counted, tmp_path)
    assert sum(calls) == 2 * len(photos)
