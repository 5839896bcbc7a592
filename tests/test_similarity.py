"The similarity search under interruption, faults and odd requests."
import errno, json, os, random, signal, subprocess, sys, time
from dataclasses import replace
import numpy as np
import pytest
import torch
from colorize_nb import search as searching
from colorize_nb import similarity
from colorize_nb.core.store import append_lines
from colorize_nb.data.photos import PhotoSet
from colorize_nb.core.store import read_metadata
from colorize_nb.features import load_net
from colorize_nb.search import draw_trial, finetune, next_job, read_trials, search
from colorize_nb.similarity import VARIANTS, run_trial, similarity_learner

TINY = dict(space='L', base='untrained', trials=2, keep=1, more_epochs=1, variants=('head+bn',), batch_size=8, size=32,
            progress=False)

@pytest.fixture(scope='module')
def flowers(): return PhotoSet.drawn(n=25, size=64, seed=0)

def untimed(out): return [{k: v for k, v in r.items() if k != 'seconds'} for r in read_trials(out)]

@pytest.fixture(scope='module')
def undisturbed(flowers, tmp_path_factory):
    out = tmp_path_factory.mktemp('search') / 'run'
    return out, search(flowers, out=out, **TINY)

def test_outputs(undisturbed, flowers):
    out, best = undisturbed
    records = read_trials(out)
    assert [(r['trial'], r['epochs'], r['continued_from'] is not None) for r in records] == [(0, 1, False),
        (1, 1, False), (2, 1, True)]
    assert set(records[0]) == {'trial', 'space', 'variant', 'body_lr', 'head_lr', 'wd_bn', 'epochs', 'continued_from',
                               'curve', 'steps', 'seconds'}
    assert [e['epoch'] for e in records[2]['curve']] == [2]
    assert set(records[0]['curve'][0]) == {'epoch', 'train_loss', 'valid_loss', 'accuracy'}
    assert best == json.loads((out / 'best.json').read_text())
    assert best['accuracy'] == max(r['curve'][-1]['accuracy'] for r in records)
    about = read_metadata(out / 'model.safetensors')
    for key in ('space', 'base', 'variant', 'accuracy', 'seed', 'epochs', 'classes'): assert about[key] == best[key]
    assert load_net(out / 'model.safetensors').n_classes == len(flowers.classes)
    assert not list(out.rglob('*.tmp'))
    assert len(list((out / 'trials').iterdir())) == 1

def test_best_is_what_its_record_says(undisturbed, flowers):
    out, best = undisturbed
    learn = similarity_learner(flowers, net=load_net(out / 'model.safetensors'), batch_size=8, size=32)
    with learn.no_bar(): assert learn.validate()[1] == pytest.approx(best['accuracy'], abs=1e-4)

@pytest.mark.parametrize('variant', VARIANTS)
def test_what_learns_and_what_does_not(flowers, variant):
    learn = similarity_learner(flowers, 'RGB', 'untrained', variant, batch_size=8, size=32)
    old = {k: v.clone() for k, v in learn.model.state_dict().items()}
    run_trial(learn, 1, 1e-2, 1e-2)
    new = learn.model.state_dict()
    for name, p in learn.model.named_parameters():
        sleeping = variant == 'head+bn' and name.startswith('body') and p.ndim == 4
        assert p.requires_grad != sleeping
        assert torch.equal(old[name], new[name]) == sleeping, name
    assert not torch.equal(old['body.bn1.running_mean'], new['body.bn1.running_mean'])

def test_rates_are_the_pair(flowers):
    learn = similarity_learner(flowers, 'L', 'untrained', batch_size=8, size=32)
    seen = []
    run_trial(learn, 4, 3e-4, 2e-3, tick=lambda n: seen.append([float(h['lr']) for h in learn.opt.hypers]))
    for body, head in seen: assert head / body == pytest.approx(2e-3 / 3e-4, rel=1e-6)
    assert len(learn.opt.hypers) == 2 and max(seen) == pytest.approx([3e-4, 2e-3], rel=0.05)

def test_generator_of_the_caller_is_left_alone(flowers):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run_trial(similarity_learner(flowers, 'L', 'untrained', batch_size=8, size=32), 1, 1e-3, 1e-3)
    assert torch.equal(torch.rand(3), expected)

def test_draws_cover_the_ranges():
    for variant, spans in searching.RATES.items():
        drawn = [draw_trial(i, seed=1, variants=(variant,)) for i in range(500)]
        for name, (lo, hi) in spans.items():
            place = [np.log(d[name] / lo) / np.log(hi / lo) for d in drawn]
            assert min(place) > -0.01 and max(place) < 1.01 and abs(np.mean(place) - 0.5) < 0.06
        assert 0.4 < np.mean([d['wd_bn'] for d in drawn]) < 0.6

def simulate(plan, accuracy, stop_at=None):
    "Run a plan without training, forgetting everything but the record at each step."
    done = []
    while job := next_job(json.loads(json.dumps(done)), plan):
        if len(done) == stop_at: break
        done.append({**job, 'curve': [{'epoch': 1, 'accuracy': accuracy[job['trial']], 'valid_loss': None}]})
    return done

@pytest.mark.parametrize('seed', range(30))
def test_plan_ends_and_continues_the_best(seed):
    rng = random.Random(seed)
    trials, keep = rng.randint(1, 8), rng.randint(0, 4)
    variants = VARIANTS[:rng.randint(1, 2)]
    plan = {'recipes': [draw_trial(i, seed, variants) for i in range(trials)], 'epochs': 1, 'keep': keep,
            'more_epochs': {'head+bn': 2, 'all': 4}}
    accuracy = [rng.choice([None, 0.2, 0.5, rng.random()]) for _ in range(trials + keep)]
    done = simulate(plan, accuracy)
    continued = [r for r in done if r['continued_from'] is not None]
    assert len(done) == trials + min(keep, trials)
    assert len({r['continued_from'] for r in continued}) == len(continued)
    for r in continued:
        parent = done[r['continued_from']]
        assert parent['continued_from'] is None
        assert all(r[k] == parent[k]
                   for k in ('variant', 'body_lr', 'head_lr',
                             'wd_bn')) and r['epochs'] == plan['more_epochs'][r['variant']]
    if keep >= len(variants) and trials >= len(variants): assert {r['variant'] for r in continued} == set(variants)

SCRIPT = """
import json, sys
from colorize_nb.data.photos import PhotoSet
from colorize_nb.search import search
search(PhotoSet.drawn(n=25, size=64, seed=0), out=sys.argv[1], **json.loads(sys.argv[2]))
"""

def test_killed_search_ends_as_the_undisturbed_one(undisturbed, flowers, tmp_path):
    out = tmp_path / 'run'
    env = {**os.environ, 'PYTHONWARNINGS': 'ignore'}
    process = subprocess.Popen([sys.executable, '-c', SCRIPT, str(out), json.dumps(TINY)], env=env)
    deadline = time.time() + 120
    while process.poll() is None and not read_trials(out) and time.time() < deadline: time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_trials(out), 'the first trial never ended'
    best = search(flowers, out=out, **TINY)
    assert best == undisturbed[1] and untimed(out) == untimed(undisturbed[0])
    ours, theirs = (load_net(folder / 'model.safetensors').state_dict() for folder in (out, undisturbed[0]))
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert not list(out.rglob('*.tmp'))

def test_lost_model_is_made_again(undisturbed, flowers):
    out, best = undisturbed
    before = load_net(out / 'model.safetensors').state_dict()
    (out / 'model.safetensors').unlink()
    assert search(flowers, out=out, **TINY) == best
    after = load_net(out / 'model.safetensors').state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)

@pytest.mark.parametrize('change,words',
                         [(dict(seed=1), 'seed is 0 there, 1 here'), (dict(epochs=2), 'epochs is 1 there, 2 here'),
                          (dict(space='RGB'), 'space is L there, RGB here')])
def test_other_plan_is_refused(undisturbed, flowers, change, words):
    record = (undisturbed[0] / 'trials.jsonl').read_bytes()
    with pytest.raises(ValueError, match=words): search(flowers, out=undisturbed[0], **{**TINY, **change})
    assert (undisturbed[0] / 'trials.jsonl').read_bytes() == record

def test_other_photos_are_refused(undisturbed):
    with pytest.raises(ValueError, match='photos is'):
        search(PhotoSet.drawn(n=30, size=64, seed=0), out=undisturbed[0], **TINY)

def test_full_disk_leaves_the_record_whole(tmp_path, monkeypatch):
    log = tmp_path / 'trials.jsonl'
    append_lines(log, {'trial': 0})
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr(os, 'fsync', full)
        with pytest.raises(OSError): append_lines(log, {'trial': 1})
    assert log.read_text() == '{"trial": 0}\n'

def test_requests_that_cannot_be_met(flowers, tmp_path):
    alone = replace(flowers, labels=np.zeros_like(flowers.labels))
    with pytest.raises(ValueError, match='at least two classes'): search(alone, out=tmp_path / 'a', **TINY)
    with pytest.raises(ValueError, match='at least two classes'): finetune(alone, out=tmp_path / 'a', base='untrained')
    with pytest.raises(ValueError, match='at least one trial'):
        search(flowers, out=tmp_path / 'a', **{**TINY, 'trials': 0})
    with pytest.raises(ValueError, match='at least one epoch'):
        finetune(flowers, base='untrained', epochs=0, out=tmp_path / 'a')
    with pytest.raises(ValueError, match='space must be'):
        search(flowers, out=tmp_path / 'a', **{**TINY, 'space': 'Lab'})
    with pytest.raises(ValueError, match='variant must be'):
        finetune(flowers, base='untrained', variant='tail', out=tmp_path / 'a')
    with pytest.raises(FileNotFoundError, match='no such weights'):
        search(flowers, out=tmp_path / 'a', **{**TINY, 'base': tmp_path / 'none.safetensors'})
    assert not (tmp_path / 'a' / 'trials.jsonl').exists()

def test_single_run_and_its_silence(flowers, tmp_path, capfd):
    run = dict(space='RGB', base='untrained', epochs=2, variant='head+bn', batch_size=8, size=32)
    best = finetune(flowers, out=tmp_path / 'quiet', progress=False, **run)
    assert capfd.readouterr().out == ''
    assert best['epochs'] == 2 and len(read_trials(tmp_path / 'quiet')) == 1
    finetune(flowers, out=tmp_path / 'told', progress=True, **run)
    printed = capfd.readouterr()
    assert 'accuracy' in printed.out + printed.err

def test_record_can_say_not_a_number():
    assert similarity._rounded(float('nan')) is None and similarity._rounded(float('inf')) is None
    assert searching._rank({'trial': 0,
                            'curve': [{'accuracy': None, 'valid_loss': None}]}) > searching._rank({'trial': 1,
                                'curve': [{'accuracy': 0.1, 'valid_loss': 3.}]})
