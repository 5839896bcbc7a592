"""Figures on made-up records (figure_fixtures) and made-up pictures: what is drawn, what is refused, what is said to
be missing."""
import json, os, shutil, subprocess, sys
from pathlib import Path
import imageio.v3 as iio
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from colorize_nb.core import store
from colorize_nb.figures import animation
from colorize_nb.figures import curves
from colorize_nb.figures import distributions
from colorize_nb.figures import graphs
from colorize_nb.figures import records
from colorize_nb.figures import results
from colorize_nb.figures import style
from colorize_nb.figures import thesis
from colorize_nb.data.photos import PhotoSet
from figure_fixtures import make_run, make_search, picture

def pictures(n=20, size=48):
    "A PhotoSet of smooth coloured squares, two classes, every other one for validation."
    strips = [picture(seed, size).reshape(size, 5, size, 3).swapaxes(0, 1) for seed in range(n // 5)]
    files = [f"{('rose', 'daisy')[i % 4 // 2]}/{i:03}.jpg" for i in range(n)]
    return PhotoSet(np.concatenate(strips), np.arange(n) % 4 // 2, ['rose', 'daisy'], files, np.arange(n) % 2 == 1,
                    None, {})

def give_weights(run):
    from colorize_nb.features import save_net, similarity_net
    from colorize_nb.unet import UNet, save_unet
    torch.manual_seed(0)
    save_net(similarity_net('L', 'untrained', n_classes=2)[0], run / 'features.safetensors')
    save_unet(UNet(width=4), run / 'unet.safetensors')

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp('records')
    make_run(root / 'plain', epochs=8)
    make_run(root / 'matched', patchmatch=True, epochs=8)
    make_run(root / 'unstable', unstable=True, epochs=8)
    make_search(root / 'l')
    make_search(root / 'rgb', 'RGB')
    row = {'method': 'exact', 'device': 'cpu', 'shape': [2, 64, 8, 8], 'directions': 2, 'seconds': .01,
           'extrapolated': False}
    (root / 'bench.json').write_text(json.dumps({'benchmark': 'patchmatch',
        'rows': [row, {**row, 'method': 'reference', 'extrapolated': True, 'ratio': 1.}]}))
    (root / 'other.json').write_text('{"benchmark": "train"}')
    return root

@pytest.fixture(scope='module')
def trained(runs, tmp_path_factory):
    "The same runs with (untrained) weights in them, as a user's own runs have."
    root = tmp_path_factory.mktemp('runs') / 'all'
    shutil.copytree(runs, root)
    for name in ('plain', 'matched'): give_weights(root / name)
    return root

@pytest.fixture(scope='module')
def tools(tmp_path_factory):
    root, photos = tmp_path_factory.mktemp('tools'), pictures()
    for name in ('one', 'two'):
        for i in photos.valid_idx:
            path = root / name / (photos.files[i] if name == 'one' else photos.files[i].replace('/', '__'))
            path.parent.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path.with_suffix('.png'), photos.images[i][..., ::-1])
    return {name: root / name for name in ('one', 'two')}

def drawn(made): return {number for number, path in made.items() if isinstance(path, Path)}

@pytest.fixture(scope='module')
def everything(trained, tools, tmp_path_factory):
    out = tmp_path_factory.mktemp('figures')
    return out, thesis.make_figures([trained], pictures(), out, predictions=tools, quiet=True)

def test_every_figure_and_the_page(everything):
    out, made = everything
    expected = set(thesis.FIGURES)
    assert drawn(made) == expected, {number: why for number, why in made.items() if isinstance(why, str)}
    assert {path.name for path in out.iterdir()} == {f'{n}{thesis.FIGURES[n].suffix}'
        for n in expected} | {'index.html'}
    page = (out / 'index.html').read_text()
    for number in expected: assert f'id="{number}"' in page and f'--only {number} ' in page
    assert f'{len(expected)} of 22 figures drawn.' in page

def test_same_input_same_bytes(everything, trained, tools, tmp_path):
    out, made = everything
    with matplotlib.rc_context({'font.size': 20, 'axes.facecolor': 'red', 'savefig.dpi': 30}):
        thesis.make_figures([trained], pictures(), tmp_path, None, tools, quiet=True)
    for path in sorted(out.iterdir()): assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
    assert b'Software' not in (out / 'F9.png').read_bytes()

def test_graphs_repeat_and_keep_the_skip_connections(tmp_path):
    from colorize_nb.unet import UNet
    nodes, edges = graphs.trace_network(UNet(width=4), (1, 13, 64, 64))
    joins = [n for n, (names, _) in nodes.items() if names[0] == 'concatenate']
    assert len(joins) == 4 and all(sum(b == n for _, b in edges) == 2 for n in joins)
    a, b = (style.save_figure(graphs.graph_unet(4), tmp_path / f'{name}.png').read_bytes() for name in 'ab')
    assert a == b

def test_graphs_need_no_program_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    made = thesis.make_figures([], None, tmp_path / 'out', 'F5,F6', quiet=True)
    assert drawn(made) == {'F5', 'F6'}

def test_missing_records_are_listed_and_nothing_is_faked(tmp_path):
    only = [n for n in thesis.FIGURES if n not in ('F5', 'F6')]
    (tmp_path / 'F9.png').write_bytes(b'from an earlier time')
    made = thesis.make_figures([], None, tmp_path, only, quiet=True)
    assert not drawn(made) and [path.name for path in tmp_path.iterdir()] == ['index.html']
    page = (tmp_path / 'index.html').read_text()
    for number in only: assert f'<b>{number} ' in page
    for _, command in thesis.MAKE.values(): assert 'colorize-nb' in command
    assert thesis.MAKE['unstable'][1] in page and thesis.MAKE['patchmatch'][1] in page

def test_committed_runs_show_their_snapshots(runs, tmp_path):
    made = thesis.make_figures([runs], pictures(), tmp_path, 'F15,F19,F20', quiet=True)
    assert drawn(made) == {'F15', 'F19', 'F20'} # F20 with the weights that ship
    assert len(results.plot_plain_results(runs / 'plain').axes) == 15
    assert len(results.plot_results(runs / 'matched').axes) == 25

def test_own_photos_come_before_the_open_pictures(runs, tmp_path):
    shutil.copytree(runs / 'plain', tmp_path / 'run')
    shutil.copytree(tmp_path / 'run' / 'snapshots' / 'open', tmp_path / 'run' / 'snapshots' / 'photos')
    for path in (tmp_path / 'run' / 'snapshots' / 'photos').iterdir(): iio.imwrite(path, 255 - iio.imread(path))
    shots = records.read_snapshots(tmp_path / 'run')
    assert np.array_equal(shots.target, 255 - records.read_snapshots(tmp_path / 'run', 'open').target)

def test_sources_are_told_apart(runs, trained):
    sources = thesis.find_sources([runs])
    assert {kind: getattr(place, 'name', None) for kind,
            place in sources.items() if kind not in ('similarity', 'bench')} == {'plain': 'plain',
                'patchmatch': 'matched', 'unstable': 'unstable'}
    assert sorted(place.name for place in sources['similarity']) == ['l', 'rgb']
    assert [place.name for place in sources['bench']] == ['bench.json']
    assert thesis.find_sources([trained / 'matched'])['weights'] == trained / 'matched'

def test_the_longest_run_of_a_kind_is_taken(tmp_path):
    for name, epochs in (('a', 2), ('b', 5), ('c', 3)): make_run(tmp_path / name, epochs=epochs, snapshots=False)
    assert thesis.find_sources([tmp_path])['plain'].name == 'b'

@pytest.mark.parametrize('kind, path, says',
                         [(FileNotFoundError, 'nowhere', 'no such run'), (ValueError, '.', 'neither a run')])
def test_wrong_sources(tmp_path, kind, path, says):
    with pytest.raises(kind, match=says): thesis.find_sources([tmp_path / path])

@pytest.mark.parametrize('only', ['F23', '9', 'F9,F99', ''])
def test_unknown_figures(only):
    with pytest.raises(ValueError, match='there is no figure'): thesis.parse_only(only)

def test_only_keeps_the_order():
    assert thesis.parse_only('f14, F9') == ['F9', 'F14']
    assert thesis.parse_only(['F1']) == ['F1']
    assert len(thesis.parse_only(None)) == 22

def test_a_record_cut_off_by_a_kill(runs, tmp_path):
    shutil.copytree(runs / 'plain', tmp_path / 'run')
    record = tmp_path / 'run' / 'record.jsonl'
    whole = records.read_record(tmp_path / 'run')
    record.write_text(record.read_text()[:-40])
    cut = records.read_record(tmp_path / 'run')
    assert len(cut.epochs) == len(whole.epochs) - 1
    assert isinstance(distributions.plot_ridges(cut), Figure)

def test_a_damaged_record(runs, tmp_path):
    shutil.copytree(runs / 'plain', tmp_path / 'run')
    record = tmp_path / 'run' / 'record.jsonl'
    lines = record.read_text().split('\n')
    record.write_text('\n'.join([*lines[:3], '{broken', *lines[4:]]))
    with pytest.raises(ValueError, match=r'record.jsonl, line 4: not JSON'): records.read_record(tmp_path / 'run')
    made = thesis.make_figures([runs / 'matched', tmp_path / 'run'], None, tmp_path / 'out', 'F16', quiet=True)
    assert drawn(made) == {'F16'}

def test_a_run_that_has_just_begun(tmp_path):
    make_run(tmp_path / 'run', epochs=1, snapshots=False)
    record = records.read_record(tmp_path / 'run')
    record.epochs = record.epochs[:1]
    for draw in (curves.plot_losses, distributions.plot_ridges, distributions.plot_heat, distributions.plot_views):
        assert isinstance(draw(record), Figure)
    with pytest.raises(FileNotFoundError, match='kept no snapshots'): animation.plot_predictions(record)

def test_no_perceptual_branch(runs):
    with pytest.raises(ValueError, match='no perceptual branch'): curves.plot_branches(runs / 'plain')

@pytest.mark.parametrize('batch', ['last', 'fixed'])
def test_densities_integrate_to_one(runs, batch):
    record = records.read_record(runs / 'plain')
    for side in ('pred', 'target'):
        for channel in 'ab':
            epochs, density = distributions.densities(record, side, channel, batch)
            assert epochs.tolist() == list(range(9))
            np.testing.assert_allclose((density * np.diff(distributions.EDGES)).sum(1), 1)

def test_quantiles_of_a_uniform_distribution():
    np.testing.assert_allclose(distributions.quantile(np.full((2, 128), 1 / 8), .25), -2)

def test_continued_trials_are_joined(runs):
    joined = curves.join_trials(store.read_lines(runs / 'l' / 'trials.jsonl'))
    assert sorted(len(trial['curve']) for trial in joined) == [1, 1, 1, 5]
    assert [point['epoch'] for point in joined[-1]['curve']] == [1, 2, 3, 4, 5]

def test_gif_loops_and_shows_every_snapshot(runs, tmp_path):
    from PIL import Image
    path = animation.write_progress(runs / 'plain', tmp_path / 'a.gif')
    frames, shots = iio.imread(path, index=None), records.read_snapshots(runs / 'plain')
    assert len(frames) == len(shots.epochs)
    gif = Image.open(path)
    assert gif.info['loop'] == 0 and gif.info['duration'] == 400
    gif.seek(gif.n_frames - 1)
    assert gif.info['duration'] == 1200
    assert len(np.unique(frames[1].reshape(-1, 3), axis=0)) <= 256
    assert np.abs(frames.astype(int) - np.stack(animation.progress_frames(runs / 'plain'))).mean() < 12
    assert (frames[:, 0, 0] == 255).all()

def test_gif_of_one_frame(tmp_path):
    assert len(iio.imread(style.write_gif([picture()], tmp_path / 'a.gif'), index=None)) == 1

def test_pictures_of_unequal_shapes():
    tall, wide = np.zeros((60, 30, 3), 'uint8'), np.full((30, 60), 200, 'uint8')
    assert isinstance(style.picture_grid([[tall, wide], [wide]], ['a', 'b'], ['x', 'y']), Figure)

def test_tools_without_a_common_picture(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no validation photo'):
        results.plot_tools(pictures(), {'empty': tmp_path / 'empty'})

def test_fine_pictures_come_first():
    size, photos = 48, pictures(5)
    wave = lambda length: np.repeat((127 + 100 * np.sin(2 * np.pi * np.arange(size) / length))[None, :, None], size,
                                    0).repeat(3, 2).astype('uint8')
    photos.images, photos.valid = np.stack([wave(n) for n in (24, 6, 12, 16, 24)]), np.ones(5, bool)
    assert results.fine_pictures(photos, 3).tolist() == [1, 2, 3]
    assert results.fine_pictures(photos, 3, ['rose']).tolist() == [1, 0, 4]

def test_save_refuses_other_formats(tmp_path):
    with pytest.raises(ValueError, match='written as'): style.save_figure(Figure(), tmp_path / 'a.bmp')

@pytest.mark.parametrize('suffix', ['svg', 'pdf'])
def test_other_formats_repeat(runs, tmp_path, suffix):
    a, b = (style.save_figure(distributions.plot_heat(runs / 'plain'), tmp_path / f'{name}.{suffix}').read_bytes()
            for name in 'ab')
    assert a == b

def test_map_names_every_figure():
    table = thesis.figure_map()
    assert table.count('\n') == 23 and all(f'| {number} |' in table for number in thesis.FIGURES)

def test_no_window_is_needed():
    code = ("import sys; import colorize_nb.figures.thesis; assert 'matplotlib.pyplot' not in sys.modules and "
            "'fastai' not "
            "in sys.modules")
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'DISPLAY': '', 'MPLBACKEND': 'tkagg'})
