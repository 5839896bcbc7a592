"Runs that are killed, filled disks, foreign settings: nothing may be lost or mixed up."
import json, random, signal, subprocess, time
import pytest, torch
from conftest import COMMAND, cli
from colorize_nb.core.store import read_lines
from colorize_nb.data.photos import PhotoSet
from colorize_nb.features import similarity_net
from colorize_nb.train.loop import train
from colorize_nb.train.pairs import PairCache, PairLoader, draw_pairs, make_config
from colorize_nb.train.runs import Run
from colorize_nb.unet import load_unet

TINY = ('train', '--preset', 'tiny', '--epochs', '5', '--hue-rotation', '0.5', '--copies', '0.5', '--residual', '--out')

def result(folder):
    "What must be equal to the bit: the record and both weights."
    weights = folder / (folder / 'checkpoint').read_text()
    states = [load_unet(weights / f'{name}.safetensors').state_dict() for name in ('last', 'best')]
    return (folder / 'record.jsonl').read_bytes(), states

def assert_equal(one, two):
    assert one[0] == two[0]
    for a, b in zip(one[1], two[1]):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def test_killed_runs_end_as_if_nothing_had_been(tmp_path, soak):
    whole = cli(*TINY, tmp_path / 'whole')
    assert whole.returncode == 0, whole.stderr
    dice, killed, out, kills = random.Random(time.time_ns()), 0, tmp_path / 'killed', 20 if soak else 4
    steps = sum(json.loads(line)['kind'] == 'step' for line in open(tmp_path / 'whole' / 'record.jsonl'))
    def noted(): return (out / 'record.jsonl').read_bytes().count(b'"step", ') if (out / 'record.jsonl').exists() else 0
    for attempt in range(kills):
        again = ['--resume'] if (out / 'config.json').exists() else []
        process = subprocess.Popen([COMMAND, *map(str, TINY), str(out), *again], stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        goal = steps * (attempt + dice.random()) / (kills + 1)
        while process.poll() is None and noted() < goal: time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= kills // 2
    last = cli(*TINY, out, '--resume')
    assert last.returncode == 0, last.stderr
    assert_equal(result(tmp_path / 'whole'), result(out))
    assert len(list((out / 'checkpoints').iterdir())) == 1 and not list(out.rglob('*.tmp'))
    record = (tmp_path / 'whole' / 'record.jsonl').read_bytes()
    done = cli(*TINY, tmp_path / 'whole', '--resume')
    assert done.returncode == 0 and (tmp_path / 'whole' / 'record.jsonl').read_bytes() == record
    refused = cli(*TINY, tmp_path / 'whole')
    assert refused.returncode == 2 and '--resume' in refused.stderr
    changed = cli(*TINY, tmp_path / 'whole', '--resume', '--seed', '5')
    assert changed.returncode == 2 and 'seed was 0, is 5' in changed.stderr and changed.stderr.count('\n') == 1

def test_killed_between_the_last_step_of_an_epoch_and_its_validation(garden, tmp_path, monkeypatch):
    photos, net = garden
    config = make_config('tiny', epochs=2, width=4, alpha=0., checkpoint_every=1)
    whole = train(photos, tmp_path / 'whole', config, net, cache=tmp_path / 'cache', quiet=True)
    batch, seen = PairLoader.batch, []
    def stop_at_second_validation(self, rows, branch):
        if not self.train: seen.append(self)
        if len(seen) > len(self): raise KeyboardInterrupt
        return batch(self, rows, branch)
    with monkeypatch.context() as patched:
        patched.setattr(PairLoader, 'batch', stop_at_second_validation)
        with pytest.raises(KeyboardInterrupt):
            train(photos, tmp_path / 'cut', config, net, cache=tmp_path / 'cache', quiet=True)
    again = train(photos, tmp_path / 'cut', config, net, cache=tmp_path / 'cache', resume=True, quiet=True)
    assert_equal(result(whole), result(again))

def test_interrupted_by_the_user(tmp_path):
    process = subprocess.Popen([COMMAND, *TINY, str(tmp_path / 'run')], stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while process.poll() is None and not (tmp_path / 'run' / 'checkpoint').exists(): time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 130 and 'Traceback' not in text
    assert cli(*TINY, tmp_path / 'run', '--resume').returncode == 0

def test_checkpoints_load_without_code(tmp_path):
    run = Run(tmp_path / 'run')
    from colorize_nb.unet import UNet
    unet = UNet(width=4)
    opt = torch.optim.AdamW(unet.parameters(), fused=True)
    unet(torch.randn(2, 13, 32, 32)).mean().backward()
    opt.step()
    run.folder.mkdir()
    run.note(kind='step', step=0)
    run.save(unet, opt, is_best=True)
    state = torch.load(run.folder / run._pointer() / 'state.pt', weights_only=True)
    def plain(value):
        if isinstance(value, dict): return all(plain(v) for v in value.values())
        if isinstance(value, (list, tuple)): return all(plain(v) for v in value)
        return value is None or isinstance(value, (torch.Tensor, int, float, bool, str))
    assert plain(state)

def test_a_run_that_has_lost_its_way_ends_early_and_says_so(garden, tmp_path):
    photos, net = garden
    changes = dict(epochs=40, width=4, patchmatch=False, lr_start=0., lr_max=0., lr_end=0., limit=16)
    run = Run(train(photos, tmp_path / 'still', make_config('tiny', patience=3, **changes), net, quiet=True))
    last = run.read('epoch')[-1]
    assert 13 <= last['epoch'] < 40
    train(photos, run.folder, make_config('tiny', patience=3, **changes), net, resume=True, quiet=True)
    assert run.read('epoch')[-1] == last
    first = [line for line in run.read('step') if line['epoch'] == 0]
    assert all('hist' in line for line in first) and len(first) == sum('hist' in line for line in run.read('step'))
    timings = read_lines(run.folder / 'timings.jsonl')
    assert {line['since'] for line in timings} == {0} and {line['steps'] for line in timings} == {len(first)}

@pytest.fixture(scope='module')
def garden():
    photos, net = PhotoSet.drawn(n=40, size=64, seed=1), similarity_net('L', 'untrained')[0]
    return photos, net

def test_batches_do_not_depend_on_what_came_before(garden, tmp_path):
    photos, net = garden
    config = make_config('tiny', hue_rotation=0.5)
    pairs, _ = draw_pairs(photos, config, net)
    cache = PairCache(tmp_path, photos, pairs, net, quiet=True)
    first, second = (PairLoader(photos, pairs, cache, config) for _ in range(2))
    for epoch in range(3):
        first.epoch = epoch
        list(first)
    second.epoch = second.skip = 2
    for (x, l, ab, branch), (x2, l2, ab2, branch2) in zip(list(first)[2:], second):
        assert branch == branch2 and torch.equal(x, x2) and torch.equal(ab, ab2)

def test_every_target_is_seen_once_an_epoch(garden):
    photos, net = garden
    config = make_config('tiny', batch_size=4)
    pairs, valid = draw_pairs(photos, config, net)
    loader = PairLoader(photos, pairs, None, config)
    for epoch in range(2):
        loader.epoch = epoch
        seen = [row for number in range(len(loader)) for row in loader.plan(number)[0]]
        assert len(set(pairs[seen, 0])) == len(seen) == len(loader) * 4
        assert {row % config.references for row in seen} == {epoch % config.references}
    assert set(valid[:, 0]) == set(photos.valid_idx)

def test_a_flat_folder_pairs_look_alikes(garden):
    photos, net = garden
    flat = PhotoSet(photos.images, photos.labels * 0, ['photos'], photos.files, photos.valid)
    pairs, _ = draw_pairs(flat, make_config('tiny', seed=3, other_class=0.), net)
    assert (pairs[:, 0] != pairs[:, 1]).all() and not set(pairs.flat) & set(photos.valid_idx)
    same_kind = (photos.labels[pairs[:, 0]] == photos.labels[pairs[:, 1]]).mean()
    assert same_kind > 1.2 / len(photos.classes)

def test_disturbed_copies_know_their_way_back(garden, tmp_path):
    flowers, net = garden
    config = make_config('tiny', copies=0.5)
    pairs, _ = draw_pairs(flowers, config, net)
    cache = PairCache(tmp_path, flowers, pairs, net, quiet=True)
    copies = PairCache(tmp_path, flowers, pairs[::config.references, [0, 0]], net, quiet=True)
    assert copies.count * config.references == cache.count
    index, _ = copies.read(range(copies.count), own=True)
    assert 0 <= index.min() and index.max() < index[0].numel()
    first, second = (PairLoader(flowers, pairs, cache, config, copies=copies) for _ in range(2))
    without = PairLoader(flowers, pairs, cache, make_config('tiny'))
    changed = 0
    for number in range(len(first)):
        (a, *_, branch), (b, *_), (c, *_) = (loader.batch(*loader.plan(number)) for loader in (first, second, without))
        assert torch.equal(a, b)
        if branch == 'perceptual': assert torch.equal(a, c)
        else: changed += (a != c).flatten(1).any(1).sum().item()
    steps = sum(first.plan(number)[1] == 'chrominance' for number in range(len(first)))
    assert 0 < changed < steps * config.batch_size

def test_without_perceptual_loss_every_step_is_chrominance(garden, tmp_path):
    flowers, net = garden
    config = make_config('tiny', alpha=0.)
    pairs, _ = draw_pairs(flowers, config, net)
    loader = PairLoader(flowers, pairs, PairCache(tmp_path, flowers, pairs, net, quiet=True), config)
    assert {loader.plan(number)[1] for number in range(len(loader))} == {'chrominance'}

def test_finetune_takes_a_flat_folder_and_its_model_colours(tmp_path): # the default model: test_exemplar
    from PIL import Image
    from colorize_nb.data.garden import draw_flower
    (tmp_path / 'album').mkdir()
    for i in range(24):
        Image.fromarray(draw_flower(('daisy', 'rose', 'tulip')[i % 3], seed=i, colouring=i % 3, size=96)).save(tmp_path
            / 'album' / f'{i}.png')
    (tmp_path / 'album' / 'notes.txt').write_text('not a photo')
    done = cli('finetune', '--data', tmp_path / 'album', '--from', 'thesis', '--out', tmp_path / 'mine', '--epochs', 1)
    assert done.returncode == 0, done.stderr
    epochs = Run(tmp_path / 'mine').read('epoch')
    assert [line['epoch'] for line in epochs] == [0, 1] and all(line['valid']['perceptual'] is None for line in epochs)
    again = cli('finetune', '--data', tmp_path / 'album', '--from', 'thesis', '--out', tmp_path / 'mine', '--epochs',
                1)
    assert again.returncode == 2 and '--resume' in again.stderr
    coloured = cli('colorize', tmp_path / 'album' / '3.png', '--reference', tmp_path / 'album' / '6.png', '--weights',
                   tmp_path / 'mine', '-o', tmp_path / 'out.png')
    assert coloured.returncode == 0, coloured.stderr
    assert Image.open(tmp_path / 'out.png').size == (96, 96)
