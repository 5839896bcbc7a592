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
from colorize_nb.evaluate import twin
from colorize_nb.color import rgb_to_lab, to_uint8
from colorize_nb.colorizer import Colorizer
from colorize_nb.data.photos import PhotoSet, prepare
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


@pytest.fixture(scope='module', autouse=True)
def cheap_features():
    "Twins are told by lightness in 36 cells: these tests need no network for that."
    def embed_photos(photos, *args):
        light = color.to_tensor(photos.images).mean(1, keepdim=True)
        cells = torch.nn.functional.adaptive_avg_pool2d(light, 6).flatten(1)
        return torch.nn.functional.normalize(cells - cells.mean(1, keepdim=True), dim=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('colorize_nb.train.twins.embed_photos', embed_photos)
        yield


@pytest.fixture(scope='module')
def whole(colorizer, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole')
    return out, run(colorizer, photos, out)


def test_all_protocols_and_methods(whole):
    _, result = whole
    assert set(result['tables']) == {'self', 'recolour', 'exemplar', 'drawn',
                                     'twin: photos in memory', *(f'wrong: {kind}' for kind in questions.WRONG)}
    every = [*baselines.BASELINES, rows_of_tables.COPY, rows_of_tables.WITHOUT, rows_of_tables.OURS]
    for name, methods in result['tables'].items():
        rows = [row for row in every if (name, row) != ('recolour', rows_of_tables.WITHOUT)]
        assert list(methods)[:len(rows)] == rows, name
        for method, values in methods.items():
            measure = 'intersection' if method == rows_of_tables.TRUTH else report.MAIN[name.split(':')[0]]
            assert measure not in values or values[measure]['n'] == 4
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
    monkeypatch.setattr(twin, 'answer', lambda *args: pytest.fail('coloured again'))
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


def test_twin_compares_with_the_mean_colour(whole, photos):
    table = whole[1]['tables']['twin: photos in memory']
    assert set(table['mean colour']) == {'psnr_ab', 'ciede2000', 'chroma', 'intersection'}
    truth = table[rows_of_tables.TRUTH]
    assert set(truth) == {'chroma', 'intersection'} and truth['chroma']['mean'] == 1
    ahead = table['ours']['over']['mean']
    assert ahead == pytest.approx(table['ours']['psnr_ab']['mean'] - table['mean colour']['psnr_ab']['mean'], abs=2e-3)
    assert ahead == whole[1]['differences']['twin: photos in memory']['mean colour']['mean']
    pictures = whole[1]['per_picture']['twin: photos in memory']['pictures']
    column = whole[1]['per_picture']['twin: photos in memory']['methods']['ours']
    assert column['better'] == [float(gain > 0) for gain in column['over']]
    number = {file: i for i, file in enumerate(photos.files)}
    for picture in pictures:
        target, reference = number[picture['file']], number[picture['reference']]
        assert photos.valid[target] and not photos.valid[reference]
        assert photos.labels[target] == photos.labels[reference]


def test_self_is_compared_with_grey_and_recolour_with_nothing(whole):
    tables = whole[1]['tables']
    row = tables['self'][rows_of_tables.WITHOUT]
    grey = tables['self']['grey']['psnr_ab']['mean']
    assert row['over']['mean'] == pytest.approx(row['psnr_ab']['mean'] - grey, abs=2e-3)
    assert 'over' not in tables['self']['grey'] and 'over' not in tables['recolour']['ours']


def test_twin_gives_the_truth_the_last_word(photos, tmp_path):
    question = twin.twin_questions(photos, 'garden', limit=1)[0]
    truth, lent = (twin.whole_picture(photos, i) for i in (question.target, question.twin))
    seen = []
    def oracle(grey, reference): return seen.append((grey, reference)) or truth
    rows = report.over_base(twin.answer(photos, question, {**twin.whole_methods(), 'oracle': oracle}, tmp_path))
    values = {row['method']: row['values'] for row in rows}
    assert values['oracle']['psnr_ab'] == metrics.PSNR_CAP and values['oracle']['ciede2000'] == 0
    assert values['oracle']['better'] == 1 and values['grey']['chroma'] < .1
    grey, reference = (np.asarray(picture).astype(int) for picture in seen[0])
    assert np.ptp(grey, -1).max() <= 1 and np.array_equal(reference, np.asarray(lent)), 'the target may show no colour'
    assert len(list(tmp_path.rglob('*.jpg'))) == 1


def test_twin_reads_whole_originals_of_several_folders(colorizer, photos, tmp_path):
    for name, keep in (('first', slice(0, 40)), ('second', slice(20, 60))):
        for i in range(len(photos))[keep]:
            path = tmp_path / 'originals' / name / photos.files[i]
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(photos.images[i])
            picture.resize((96, 48)).save(path)
        prepare(tmp_path / 'originals' / name, tmp_path / name, size=48, quiet=True)
    folders = [tmp_path / 'first', tmp_path / 'second']
    result = run(colorizer, folders, tmp_path / 'out', protocol='twin', limit=2)
    assert set(result['tables']) == {'twin: first', 'twin: second'}
    strips = [Image.open(path) for path in (tmp_path / 'out' / 'pictures' / 'twin').rglob('*.jpg')]
    assert strips and all(strip.height == 48 + 14 and strip.width % 98 == 0 for strip in strips)
    assert str(tmp_path) not in (tmp_path / 'out' / 'results.json').read_text()
    again = PhotoSet.open(folders[0])
    assert twin.whole_picture(again, 0).size == (96, 48) and twin.whole_picture(again, 0, 24).size == (48, 24)
    with pytest.raises(ValueError, match='another collection is called first'):
        run(colorizer, [folders[0], tmp_path / 'other' / 'first'], tmp_path / 'twice', protocol='twin')


def test_a_further_model_adds_its_rows(colorizer, photos, tmp_path):
    torch.manual_seed(1)
    models = {'new': colorizer, 'old': Colorizer(colorizer.features, UNet(width=4))}
    result = run(models, photos, tmp_path, protocol='self,recolour,twin', limit=2)
    own = {'ours', 'old', 'ours, no reference', 'old, no reference', 'warped ab', *baselines.BASELINES}
    for name, methods in result['tables'].items():
        asked = {method for method in own if name != 'recolour' or not method.endswith('no reference')}
        assert set(methods) - {rows_of_tables.TRUTH} == asked, name
    twins = result['tables']['twin: photos in memory']
    assert twins['old']['psnr_ab'] != twins['ours']['psnr_ab'] and 'over' in twins['old']
    assert result['config']['weights'] == 'new' and list(result['config']['repeat']['others']) == ['old']


def test_halves_share_nothing_and_miss_nothing(photos, tmp_path):
    pools = [set(questions.open_pool(photos, SIZE, half=half).files) for half in ('A', 'B', None)]
    asked = [{q.key for q in twin.twin_questions(photos, 'garden', half)} for half in ('A', 'B', None)]
    for first, second, both in (pools, asked): assert first and second and first | second == both and not first & second
    for half in 'AB':
        result = run(None, photos, tmp_path / half, protocol='recolour,twin', limit=1, half=half)
        for table in result['per_picture'].values():
            assert {questions.half_of(p['file']) for p in table['pictures']} == {half}
    with pytest.raises(ValueError, match="expected A or B, got 'C'"): run(None, photos, tmp_path / 'C', half='C')


def test_twin_alone_needs_a_split(photos, tmp_path):
    Image.fromarray(photos.images[0]).save(tmp_path / 'one.png')
    with pytest.raises(ValueError, match='no question can be asked'):
        run(None, tmp_path, tmp_path / 'out', protocol='twin')
