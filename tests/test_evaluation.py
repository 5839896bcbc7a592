"Protocols and runner: determinism, resuming, other tools' folders, faults."
import json

import numpy as np
import pytest
import torch
from PIL import Image

from colorize_nb import color
from colorize_nb.evaluate import baselines
from colorize_nb.evaluate import methods as rows_of_tables
from colorize_nb.evaluate import metrics
from colorize_nb.evaluate import questions
from colorize_nb.evaluate import report
from colorize_nb.evaluate import runner
from colorize_nb.color import rgb_to_lab, to_uint8
from colorize_nb.colorizer import Colorizer
from colorize_nb.data.photos import PhotoSet
from colorize_nb.features import save_net, similarity_net
from colorize_nb.unet import UNet

SIZE = 32


@pytest.fixture(scope='module')
def photos():
    drawn = PhotoSet.drawn(n=60, size=48, seed=5)
    drawn.valid[:] = np.arange(60) % 4 > 0
    return drawn


@pytest.fixture(scope='module')
def colorizer():
    torch.manual_seed(0)
    return Colorizer(similarity_net('L', 'untrained')[0], UNet(width=4))


@pytest.fixture(scope='module')
def pool(photos): return questions.open_pool(photos, SIZE)


def run(colorizer, photos, out, **options):
    return runner.evaluate(colorizer, photos,
                           **{'limit': 4, 'size': SIZE, 'batch_size': 2, 'quiet': True, 'out': out, **options})


@pytest.fixture(scope='module')
def whole(colorizer, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole')
    return out, run(colorizer, photos, out)


def test_all_protocols_and_methods(whole):
    _, result = whole
    assert set(result['tables']) == {'self', 'recolour', 'exemplar', 'drawn',
                                     *(f'wrong: {kind}' for kind in questions.WRONG)}
    rows = [*baselines.BASELINES, rows_of_tables.COPY, rows_of_tables.WITHOUT, rows_of_tables.OURS]
    for name, methods in result['tables'].items():
        assert list(methods)[:len(rows)] == rows, name
        for values in methods.values():
            assert values[report.MAIN[name.split(':')[0]]]['n'] == 4
            for value in values.values(): assert value['low'] <= value['mean'] <= value['high']
    assert result['tables']['exemplar']['ours']['diversity']['mean'] >= 0
    assert set(result['not_measured']) == {'top1', 'kid_own', 'lpips', 'kid', 'fid'}


def test_a_second_folder_gives_the_same_numbers(whole, colorizer, photos, tmp_path):
    again = run(colorizer, photos, tmp_path, protocol='recolour,exemplar')
    for name in ('recolour', 'exemplar'): assert again['tables'][name] == whole[1]['tables'][name]


def test_json_and_page(whole):
    out, result = whole
    text = (out / 'results.json').read_text()
    stored = json.loads(text)
    assert stored == json.loads(json.dumps(result))
    assert str(out) not in text and '/tmp' not in text
    assert report.differences(runner.rows_of(stored)) == stored['differences']
    page = (out / 'index.html').read_text()
    images = [part.split("'")[0] for part in page.split("src='")[1:]]
    assert len(images) >= 8 * 9
    for name in images: assert (out / name).is_file(), name
    strip = Image.open(out / images[0])
    assert strip.width == (SIZE + 2) * (3 + len(baselines.BASELINES) - 1 + 3)


def test_interrupted_runs_go_on(whole, colorizer, photos, tmp_path, monkeypatch):
    judge, calls = runner._judge_group, []
    def faulty(*args):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
        return judge(*args)
    monkeypatch.setattr(runner, '_judge_group', faulty)
    with pytest.raises(KeyboardInterrupt): run(colorizer, photos, tmp_path)
    kept = (tmp_path / 'rows.jsonl').read_text().count('\n')
    assert kept
    with open(tmp_path / 'rows.jsonl', 'a') as file: file.write('{"key": "recolour/tor')
    again = run(colorizer, photos, tmp_path)
    assert len(calls) == 3 + (len(runner._groups(list(questions.PROTOCOLS), questions.open_pool(photos, SIZE), 4, 2))
                              - 2)
    assert again['tables'] == whole[1]['tables'] and again['differences'] == whole[1]['differences']


def test_done_work_is_not_repeated(whole, colorizer, photos, monkeypatch):
    monkeypatch.setattr(runner, '_run_group', lambda *args: pytest.fail('coloured again'))
    out, result = whole
    assert run(colorizer, photos, out)['tables'] == result['tables']


def test_a_larger_limit_keeps_the_rows(colorizer, photos, tmp_path):
    first = run(colorizer, photos, tmp_path, protocol='recolour', limit=2)
    before = (tmp_path / 'rows.jsonl').read_text()
    second = run(colorizer, photos, tmp_path, protocol='recolour', limit=4)
    assert (tmp_path / 'rows.jsonl').read_text().startswith(before)
    assert second['tables']['recolour']['grey']['psnr']['n'] == 4
    assert first['per_picture']['recolour']['pictures'] == second['per_picture']['recolour']['pictures'][:2]


def test_baselines_do_not_depend_on_the_batch(whole, photos, tmp_path):
    other = run(None, photos, tmp_path, protocol='recolour', batch_size=3)
    for name in baselines.BASELINES:
        for measure, value in other['tables']['recolour'][name].items():
            assert value['mean'] == pytest.approx(whole[1]['tables']['recolour'][name][measure]['mean'],
                                                  abs=.05), (name, measure)
    assert rows_of_tables.OURS not in other['tables']['recolour']


@pytest.mark.parametrize('layout', ['nested', 'flat', 'key'])
def test_another_tool_takes_part(layout, photos, pool, tmp_path):
    names = {'nested': lambda p: p.file, 'flat': lambda p: p.file.replace('/', '__'), 'key': lambda p: p.key}[layout]
    for i in range(3):
        pair = questions.make_pair('recolour', pool, i, questions.variants('recolour', pool, i)[0])
        path = (tmp_path / 'tool' / names(pair)).with_suffix('.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_uint8(pair.truth)).save(path)
    run(None, photos, tmp_path / 'out', protocol='recolour')
    result = run(None, photos, tmp_path / 'out', protocol='recolour', predictions={'oracle': tmp_path / 'tool'})
    oracle = result['tables']['recolour']['oracle']
    assert oracle['psnr_ab']['n'] == 3 and oracle['psnr_ab']['mean'] > 45
    assert result['differences'] == {}
    strip = Image.open(next((tmp_path / 'out' / 'pictures').rglob('*.jpg')))
    assert strip.width in ((SIZE + 2) * (3 + len(baselines.BASELINES) - 1 + k) for k in (0, 1))


def test_predictions_of_another_size_are_resized(pool, tmp_path):
    pair = questions.make_pair('exemplar', pool, 0, '1')
    Image.fromarray(pool.images[0]).resize((97, 97), Image.Resampling.BICUBIC).save(tmp_path / 'x.png')
    assert metrics.psnr(rows_of_tables._read_prediction(tmp_path / 'x.png', SIZE), pair.target) > 25


def test_recoloured_keeps_lightness_and_turns_hues(pool):
    for angle in questions.ANGLES:
        image = color.to_tensor(pool.images[3])
        before, after = rgb_to_lab(image), rgb_to_lab(questions.recoloured(image, angle))
        assert (before[0] - after[0]).abs().max() < .3
        strong = (before[1:].norm(dim=0) > 15) & (after[1:].norm(dim=0) > 15)
        turn = torch.atan2(after[2], after[1]) - torch.atan2(before[2], before[1])
        off = (turn.rad2deg() - angle + 180) % 360 - 180
        assert off[strong].abs().max() < 3


def test_pairs_depend_on_names_alone(photos, pool):
    order = np.random.default_rng(1).permutation(len(photos))
    shuffled = PhotoSet(photos.images[order], photos.labels[order], photos.classes, [photos.files[i] for i in order],
                        photos.valid[order])
    other = questions.open_pool(shuffled, SIZE)
    assert other.files == pool.files and other.digest == pool.digest
    for name in questions.PROTOCOLS:
        for variant in questions.variants(name, pool, 2):
            assert torch.equal(questions.make_pair(name, pool, 2, variant).reference,
                               questions.make_pair(name, other, 2, variant).reference)


def test_classifier_gives_top1_and_kid(colorizer, photos, tmp_path):
    save_net(similarity_net('RGB', 'untrained')[0], tmp_path / 'rgb.safetensors')
    result = run(None, photos, tmp_path / 'out', protocol='exemplar', limit=30, batch_size=16, references=1,
                 classifier=tmp_path / 'rgb.safetensors')
    table = result['tables']['exemplar']
    assert 'top1' in table['grey'] and 'diversity' not in table['grey'] and set(result['not_measured']) == {'lpips',
        'kid', 'fid'} | ({'kid_own'} if 'kid_own' not in table['grey'] else set())
    save_net(similarity_net('L', 'untrained')[0], tmp_path / 'l.safetensors')
    with pytest.raises(ValueError, match='top-1 needs a similarity network that reads RGB'):
        run(None, photos, tmp_path / 'l', classifier=tmp_path / 'l.safetensors')


def test_lone_photos_ask_what_they_can(tmp_path):
    (tmp_path / 'in').mkdir()
    Image.fromarray(PhotoSet.drawn(n=1, size=40).images[0]).save(tmp_path / 'in' / 'one.png')
    result = run(None, tmp_path / 'in', tmp_path / 'out', protocol='self,recolour,wrong', limit=None)
    assert set(result['tables']) == {'recolour', 'wrong: landscape', 'wrong: grey', 'wrong: noise'}
    with pytest.raises(ValueError, match='no question can be asked'):
        run(None, tmp_path / 'in', tmp_path / 'none', protocol='self')


def test_faults_have_one_line(colorizer, photos, whole, tmp_path):
    cases = [(dict(protocol='magic'), "unknown protocol 'magic'"), (dict(size=40), 'multiple of 32'),
             (dict(limit=0), 'at least 1'),
             (dict(predictions={'tool': tmp_path / 'none'}), 'is not a folder'),
             (dict(classifier=tmp_path / 'no.safetensors'), 'no such weights file'),
             (dict(lpips=tmp_path / 'no.pth'), 'no such file')]
    for options, words in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=words) as fault:
            run(None, photos, tmp_path / 'out', **options)
        assert '\n' not in str(fault.value)
    with pytest.raises(FileNotFoundError, match='no such folder'): run(None, tmp_path / 'nowhere', tmp_path / 'out')
    with pytest.raises(ValueError, match='differs in weights'): run(None, photos, whole[0])
    with pytest.raises(ValueError, match='differs in photos and size'): run(colorizer, photos, whole[0], size=64)
    (tmp_path / 'tool').mkdir()
    with pytest.raises(ValueError, match='has the name of a target'):
        run(None, photos, tmp_path / 'fresh', protocol='recolour', predictions={'tool': tmp_path / 'tool'})


def test_bootstrap_draws_photos_not_questions():
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 50), 10)
    photos = np.repeat(np.arange(50), 10)
    grouped, naive = report.bootstrap(values, photos), report.bootstrap(values)
    assert grouped['high'] - grouped['low'] > 2 * (naive['high'] - naive['low'])


def test_thin_plate_of_an_affine_map_is_affine():
    rng = np.random.default_rng(0)
    points, at, matrix = rng.normal(size=(9, 2)), rng.normal(size=(40, 2)), rng.normal(size=(2, 2))
    np.testing.assert_allclose(questions.thin_plate(points, points @ matrix + 1, at), at @ matrix + 1, atol=1e-6)


def test_export_then_predict(photos, tmp_path):
    count = rows_of_tables.export_targets(photos, tmp_path / 'give', 'all', limit=2, size=SIZE)
    assert count == len(list((tmp_path / 'give' / 'grey').glob('*.png'))) == 4
    picture = np.asarray(Image.open(next((tmp_path / 'give' / 'grey').glob('*.png'))))
    assert (picture.max(-1) - picture.min(-1)).max() <= 1
