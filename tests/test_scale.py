"The archive job on a local cluster: equal to the local job; kills of actors and of the job; poison; stores."
import json, os, shutil, subprocess, sys, threading, time
from pathlib import Path
from types import SimpleNamespace
import psutil, pytest
from test_jobs import photos, results, whole, worked
from works import Say, broken, murderous, turning
from colorize_nb.jobs.journal import DESK
from colorize_nb.jobs.local import run_job
from colorize_nb.plan import make_plan, url

ray = pytest.importorskip('ray')
from colorize_nb.jobs.ray import ArchiveJob, Cluster, Colourist, _join, connected

TWO = Cluster(2, 1)

@pytest.fixture(scope='module')
def cluster():
    "Two actors of one thread; workers find the modules of the tests."
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', path)
        patch.setenv('AWS_ENDPOINT_URL', 'http://127.0.0.1:5557')
        for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'): patch.setenv(name, 'test')
        patch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
        with connected(TWO): yield

def archive(words, out, how=Say(), references=(), make=turning, **options):
    plan = make_plan(list(map(str, words)), list(map(str, references)), out)
    with ArchiveJob(plan.root, how, TWO, make=make, **options) as job: return job.run(plan.tasks, quiet=True)

def lines(out): return [json.loads(line) for line in (out / DESK / 'journal.jsonl').read_text().splitlines()]

def test_every_kind_of_end_as_in_the_local_job(cluster, tmp_path):
    folder = photos(tmp_path / 'in', 12)
    for name in ('killer.png', 'bug.png'): shutil.copy(folder / '0000.png', folder / name)
    (folder / 'text.jpg').write_text('not a picture')
    (folder / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
    for out in ('here', 'there'):
        (tmp_path / out).mkdir()
        (tmp_path / out / '0002.png').write_bytes(b'mine')
    here = run_job(make_plan([str(folder)], out=tmp_path / 'here'), Say(), 2, quiet=True, make=turning)
    there = archive([folder], tmp_path / 'there')
    assert there.done == here.done == 11 and set(there.failed) == set(here.failed) and len(there.failed) == 4
    assert [path.name for path in there.kept] == [path.name for path in here.kept] == ['0002.png']
    assert results(tmp_path / 'here') == results(tmp_path / 'there')
    for name in results(tmp_path / 'here'):
        assert (tmp_path / 'here' / name).read_bytes() == (tmp_path / 'there' / name).read_bytes()
    assert not (tmp_path / 'there' / DESK / 'partial').exists()
    noted = {line['output']: line for line in lines(tmp_path / 'there') if 'length' in line}
    for line in lines(tmp_path / 'here'): # the same journal
        mine = noted.pop(line['output'])
        assert mine['hash'] == line['hash'] and mine['target'] == line['target'] and mine['made'] == line['made']
    assert not noted
    (folder / 'killer.png').unlink() # either engine goes on with what the other began
    again = run_job(make_plan([str(folder)], out=tmp_path / 'there'), Say(), quiet=True, make=turning)
    assert (again.done, again.already) == (0, 11)

def children(name): # of processes of Ray
    me = psutil.Process()
    return [one for one in me.children(recursive=True) if name in ' '.join(one.cmdline())]

def test_a_killed_actor_loses_and_doubles_nothing(cluster, tmp_path):
    "It is killed in the middle; its child ends as well; nothing that was put in place is coloured again."
    folder, out, log = photos(tmp_path / 'in', 60), tmp_path / 'out', tmp_path / 'log'
    killed = []
    def kill():
        while len(worked(log)) < 20: time.sleep(.02)
        victim = children('MapWorker(MapBatches(Colourist))')[0]
        killed.extend([victim, *victim.children(recursive=True)])
        victim.kill()
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    report = archive([folder], out, Say(.1, str(log)))
    killer.join()
    assert (report.done, report.failed, report.kept) == (60, (), ()) and len(whole(out)) == 60
    assert len(killed) >= 2 and not psutil.wait_procs(killed, timeout=60)[1]
    assert 60 <= len(worked(log)) <= 61 # at most the photograph in its hands is begun again
    noted = [line['output'] for line in lines(out) if 'length' in line]
    assert len(noted) == len(set(noted)) == 60

def test_poison_that_kills_actors_ends_in_the_report(cluster, tmp_path):
    report = archive([photos(tmp_path / 'in', 6)], tmp_path / 'out', make=murderous)
    assert report.done == 5 and len(whole(tmp_path / 'out')) == 5
    [(path, reason)] = report.failed
    assert path.name == '0003.png' and 'begun 3 times' in reason

SCRIPT = """
import sys
from pathlib import Path
from works import Say, turning
from colorize_nb.jobs.ray import ArchiveJob, Cluster
from colorize_nb.plan import make_plan
if __name__ == '__main__':
    plan = make_plan([sys.argv[1]], out=Path(sys.argv[2]))
    with ArchiveJob(plan.root, Say(.1, sys.argv[3]), Cluster(2, 1), make=turning) as job: job.run(plan.tasks, True)
"""

def test_a_killed_job_goes_on(cluster, tmp_path):
    folder, out, log = photos(tmp_path / 'in', 40), tmp_path / 'out', tmp_path / 'log'
    (tmp_path / 'job.py').write_text(SCRIPT)
    words = [sys.executable, tmp_path / 'job.py', folder, out, log]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    limit = time.time() + 300
    while len(worked(log)) < 8 and time.time() < limit and process.poll() is None: time.sleep(.02)
    assert process.poll() is None, process.stderr.read()
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(below, timeout=120)[1] # neither Ray nor workers outlive the job
    finished = whole(out)
    assert 0 < len(finished) < 40
    report = archive([folder], out, Say(.1, str(log)))
    assert (report.done, report.already, report.kept) == (40 - len(finished), len(finished), ())
    assert len(whole(out)) == 40 and max(worked(log).count(Path(name).name) for name in finished) == 1

def test_overwritten_files_are_known_by_their_time(cluster, tmp_path):
    "A promise to replace a file is not kept by the file that was there."
    folder, out = photos(tmp_path / 'in', 2), tmp_path / 'out'
    out.mkdir()
    (out / '0000.png').write_bytes(b'mine')
    assert archive([folder], out, overwrite=True).done == 2
    (out / '0000.png').write_bytes(b'mine')
    (out / DESK / 'journal.jsonl').unlink()
    about = os.stat(out / '0000.png')
    stale = [line | {'before': [about.st_size, about.st_mtime_ns]} for line in lines_promised(folder, out)]
    (out / DESK / 'journal.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in stale))
    assert [path.name for path in archive([folder], out).kept] == ['0000.png']

def lines_promised(folder, out):
    from colorize_nb.jobs.journal import made_by, stamp
    for task in make_plan([str(folder)], out=out).tasks:
        yield {'output': os.path.relpath(task.output, out), 'target': stamp(task.target), 'made': made_by(task, Say())}

def test_no_work_without_a_model(cluster, tmp_path):
    with pytest.raises(ValueError, match='no such folder of weights'):
        archive([photos(tmp_path / 'in')], tmp_path / 'out', make=broken)
    assert not results(tmp_path / 'out')

class Alone(ArchiveJob):
    "The job with one actor in this process and no cluster: sees what `memory://` holds."
    def _answers(self, rows):
        nobody = SimpleNamespace(begin=SimpleNamespace(remote=lambda number: 1))
        actor = Colourist(self.make, self.how, 1, url(self.root), nobody, os.getcwd())
        for row in rows: yield actor({'row': [row]})['said']
        actor.workers.__exit__()

def test_a_store_in_memory(tmp_path, monkeypatch):
    import fsspec
    monkeypatch.setattr('colorize_nb.jobs.ray.ray.get', lambda answer: answer)
    folder, store, out = photos(tmp_path / 'in', 4), fsspec.filesystem('memory'), Path('memory://test_scale/out')
    (folder / 'text.jpg').write_text('not a picture')
    for file in filter(Path.is_file, folder.rglob('*')):
        store.pipe_file(f'/test_scale/in/{file.relative_to(folder)}', file.read_bytes())
    def run(**options):
        plan = make_plan(['memory://test_scale/in'], out=out)
        with Alone(plan.root, Say(), make=turning, **options) as job: return job.run(plan.tasks, quiet=True)
    report = run()
    assert report.done == 4 and 'memory://test_scale/in/text.jpg: cannot identify' in str(report)
    assert run_job(make_plan([str(folder)], out=tmp_path / 'out'), Say(), quiet=True, make=turning).done == 4
    for name in results(tmp_path / 'out'):
        assert store.cat_file(f'/test_scale/out/{name}') == (tmp_path / 'out' / name).read_bytes()
    store.rm('/test_scale/out/0000.png')
    store.pipe_file('/test_scale/out/0002.png', b'of another job')
    again = run()
    assert (again.done, again.already, list(map(url, again.kept))) == (1, 2, ['memory://test_scale/out/0002.png'])
    assert (run(overwrite=True).done, store.cat_file('/test_scale/out/0002.png')[:4]) == (1, b'\x89PNG')

@pytest.fixture
def bucket(cluster):
    "A bucket of moto's S3 server."
    server, s3fs = pytest.importorskip('moto.server'), pytest.importorskip('s3fs')
    s3 = server.ThreadedMotoServer(port=5557, verbose=False)
    s3.start()
    store = s3fs.S3FileSystem()
    store.mkdir('archive')
    yield store
    s3.stop()

def test_a_bucket(bucket, tmp_path):
    folder = photos(tmp_path / 'in', 6)
    (folder / 'text.jpg').write_text('not a picture')
    bucket.put(str(folder), 'archive/photos', recursive=True)
    bucket.invalidate_cache()
    source, out = 's3://archive/photos', Path('s3://archive/out')
    report = archive([source], out)
    assert report.done == 6 and 's3://archive/photos/text.jpg: cannot identify' in str(report)
    local = run_job(make_plan([str(folder)], out=tmp_path / 'out'), Say(), quiet=True, make=turning)
    assert local.done == 6
    for name in results(tmp_path / 'out'):
        assert bucket.cat_file(f'archive/out/{name}') == (tmp_path / 'out' / name).read_bytes()
    bucket.rm('archive/out/0000.png')
    bucket.pipe_file('archive/out/0002.png', b'of another job')
    bucket.rm('archive/photos/text.jpg')
    again = archive([source], out)
    assert (again.done, again.already, list(map(url, again.kept))) == (1, 4, ['s3://archive/out/0002.png'])

def test_a_cluster_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match='no cluster at 127.0.0.1:9'):
        _join(Cluster(address='127.0.0.1:9'))
