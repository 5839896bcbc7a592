"Several processes learn what one does: equal records, resumed in another number, one killed; matches to the bit."
import os, subprocess, sys, time
from pathlib import Path
import numpy as np
import psutil
import pytest
import torch
import shares
from colorize_nb.core.store import read_lines
from colorize_nb.train.distributed import in_shares, once, rank, share, size, world

def start(processes, *words):
    "Begin a job of shares.py in several processes, joined by torchrun on a free port."
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', processes]
    return subprocess.Popen([*map(str, torchrun), Path(shares.__file__), *map(str, words)], stderr=subprocess.PIPE,
                            env={**os.environ, 'OMP_NUM_THREADS': '1'}, text=True)

def launch(processes, *words):
    "Run a job to its end."
    process = start(processes, *words)
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text[-3000:]

@pytest.fixture(scope='module')
def one(tmp_path_factory):
    "A folder with the run of one process, on one thread."
    folder = tmp_path_factory.mktemp('one')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try: shares.learn(folder / 'run')
    finally: torch.set_num_threads(threads)
    return folder

def assert_alike(one, other):
    "The same lines in the same order, losses within 1e-4."
    one, other = (read_lines(folder / 'record.jsonl') for folder in (one, other))
    assert [sorted(line) for line in one] == [sorted(line) for line in other] and len(one) == 26
    for a, b in zip(one, other):
        same = ('kind', 'step', 'epoch', 'branch', 'lr')
        assert [a.get(name) for name in same] == [b.get(name) for name in same]
        if a['kind'] == 'step':
            assert b['loss'] == pytest.approx(a['loss'], abs=1e-4)
            assert b['grad_norm'] == pytest.approx(a['grad_norm'], rel=0.02)
            for name, counts in a.get('hist', {}).items():
                assert sum(counts) == sum(b['hist'][name]) == 7 * 64 ** 2
                assert np.abs(np.subtract(counts, b['hist'][name])).sum() < 100
        else: assert b['valid'] == pytest.approx(a['valid'], abs=1e-3)

def test_alone_nothing_changes(monkeypatch):
    with world(): assert (rank(), size(), share(7)) == (0, 1, slice(0, 7))
    assert in_shares(lambda i: i + 1, [1, 2]) == [2, 3] and once(lambda: 5)() == 5
    monkeypatch.setenv('WORLD_SIZE', '1')
    with world(): assert size() == 1

def test_two_processes_learn_what_one_does_and_one_goes_on(one, tmp_path):
    "Seven pictures a step: shares of four and three. One process is killed; a single one takes over."
    process = start(2, 'learn', tmp_path / 'run', 100, one / 'cache')
    record = tmp_path / 'run' / 'record.jsonl'
    while process.poll() is None and not (record.exists() and record.read_bytes().count(b'"epoch", ') > 2):
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    workers[1].kill()
    killed = time.time()
    _, text = process.communicate(timeout=60)
    assert process.returncode != 0 and time.time() - killed < 60
    assert not any(worker.is_running() for worker in workers)
    steps = [line for line in read_lines(record) if line['kind'] == 'step']
    assert 0 < len(steps) < 20 and not list(tmp_path.rglob('*.tmp'))
    shares.learn(tmp_path / 'run', cache=one / 'cache')
    assert_alike(one / 'run', tmp_path / 'run')

def test_two_go_on_where_one_stopped(one, tmp_path):
    with pytest.raises(KeyboardInterrupt): shares.learn(tmp_path / 'run', 5, one / 'cache')
    before = (tmp_path / 'run' / 'config.json').read_bytes()
    launch(2, 'learn', tmp_path / 'run', 100, one / 'cache')
    assert_alike(one / 'run', tmp_path / 'run')
    assert (tmp_path / 'run' / 'config.json').read_bytes() == before
    timings = read_lines(tmp_path / 'run' / 'timings.jsonl')
    assert [line['processes'] for line in timings] == [1] + [2] * 4

@pytest.fixture(scope='module')
def three(tmp_path_factory):
    "A folder with what three processes did, and one with what one did."
    folder = tmp_path_factory.mktemp('several')
    launch(3, 'several', folder / 'three')
    shares.several(folder / 'one')
    return folder

def test_three_processes_match_to_the_bit(three):
    found = three / 'one' / 'match'
    files = {path.relative_to(found): path.read_bytes() for path in found.rglob('*') if path.is_file()}
    assert len(files) == 8
    for name, content in files.items(): assert (three / 'three' / 'match' / name).read_bytes() == content, name

def test_gradients_are_those_of_the_whole_batch(three):
    one, *shared = (np.load(three / name) for name in
                    ('one/gradient/0.npy', *(f'three/gradient/{process}.npy' for process in range(3))))
    for values in shared:
        np.testing.assert_allclose(values, one, rtol=1e-9, atol=1e-12)
        assert np.array_equal(values, shared[0])

def test_stars_are_shared(three):
    one, shared = (three / name / 'stars' for name in ('one', 'three'))
    assert np.array_equal(np.load(one / 'pairs.npz')['train'], np.load(shared / 'pairs.npz')['train'])
    lines = list(zip(read_lines(one / 'record.jsonl'), read_lines(shared / 'record.jsonl'), strict=True))
    assert len(lines) == 6
    for a, b in lines:
        if a['kind'] == 'step':
            assert [b['loss'], b['copy']] == pytest.approx([a['loss'], a['copy']], abs=1e-4)
            assert b['grad_norm'] == pytest.approx(a['grad_norm'], rel=0.05)
        else: assert b['valid']['chrominance'] == pytest.approx(a['valid']['chrominance'], abs=1e-3)

def test_the_command_is_shared_and_its_mistakes_end_it(tmp_path):
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '3', '--no-python']
    program = Path(sys.executable).parent / 'colorize-nb'
    words = [program, 'train', '--preset', 'tiny', '--batch-size', '2', '--out', tmp_path / 'run']
    done = subprocess.run([*torchrun, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode and '3 processes cannot share batches of 2 pictures' in done.stderr
