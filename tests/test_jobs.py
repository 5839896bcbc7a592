"Folders of photographs: what is done, kept, reported; kills, Ctrl-C, full and read-only disks; pairs and the watch."
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, psutil, pytest
from hypothesis import given, strategies as st
from PIL import Image
from conftest import COMMAND, cli
from works import Say, broken, turning
from colorize_nb.data.garden import draw_flower
from colorize_nb.bench.colouring import bench_folder
from colorize_nb.jobs.journal import DESK
from colorize_nb.jobs.local import Job, run_job
from colorize_nb.plan import Photos, make_plan, name_outputs
from colorize_nb.jobs.watch import watch

def photos(folder, count=6, side=24):
    "A folder of small grey pictures, half of them in a subfolder."
    for i in range(count):
        path = folder / ('sub' if i % 2 else '') / f'{i:04}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (side, side), np.uint8)).save(path)
    return folder

def results(root):
    files = [path.relative_to(root) for path in root.rglob('*') if path.is_file()]
    return sorted(str(path) for path in files if DESK not in path.parts)

def work(folder, out, make=turning, how=Say(), **options):
    return run_job(make_plan([str(folder)], out=out), how, quiet=True, make=make, **options)

def worked(log): return Path(log).read_text().split() if Path(log).exists() else []

def test_fifty_photos_two_workers(tmp_path):
    folder, out = photos(tmp_path / 'in', 50), tmp_path / 'out'
    report = work(folder, out, jobs=2)
    assert (report.done, report.failed) == (50, ()) and len(results(out)) == 50 and 'sub/0001.png' in results(out)
    assert not (out / DESK / 'partial').exists() and len((out / DESK / 'journal.jsonl').read_text().splitlines()) == 50
    assert work(folder, out, jobs=2).already == 50
    before, after = Image.open(folder / '0000.png').convert('RGB'), Image.open(out / '0000.png')
    assert (np.asarray(before.rotate(180)) == np.asarray(after)).all()

def test_a_kill_between_a_new_line_and_its_file(tmp_path):
    "The photograph has changed, its new result is noted, but the old one is still in place: it is ours, and replaced."
    folder, out = photos(tmp_path / 'in', 1), tmp_path / 'out'
    made = []
    for side in (24, 32):
        photos(folder, 1, side)
        assert work(folder, out).done == 1
        made.append((out / '0000.png').read_bytes())
    (out / '0000.png').write_bytes(made[0])
    report = work(folder, out)
    assert (report.done, report.kept) == (1, ()) and (out / '0000.png').read_bytes() == made[1] != made[0]

def test_one_bad_photo_does_not_stop_the_rest(tmp_path):
    folder = photos(tmp_path / 'in')
    for name in ('killer.png', 'bug.png'): shutil.copy(folder / '0000.png', folder / name)
    (folder / 'text.jpg').write_text('not a picture')
    (folder / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
    report = work(folder, tmp_path / 'out', jobs=2)
    reasons = {path.name: reason for path, reason in report.failed}
    assert report.done == 6 and set(reasons) == {'killer.png', 'bug.png', 'text.jpg', 'gone.png'}
    assert 'ended with code 9' in reasons['killer.png'] and 'a bug' in reasons['bug.png']
    assert 'No such file' in reasons['gone.png']
    assert str(folder / 'text.jpg') in str(report) and len(results(tmp_path / 'out')) == 6

def test_input_that_disappears_meanwhile(tmp_path):
    folder = photos(tmp_path / 'in', 2)
    plan = make_plan([str(folder)], out=tmp_path / 'out')
    with Job(plan.root, Say(), make=turning) as job:
        state = job._state
        job._state = lambda task: (state(task), task.target.unlink())[0]
        assert [len(job.run(plan.tasks, quiet=True).failed), len(results(plan.root))] == [2, 0]

def test_existing_files_are_kept(tmp_path):
    folder, out = photos(tmp_path / 'in', 3), tmp_path / 'out'
    out.mkdir()
    (out / '0000.png').write_bytes(b'mine')
    report = work(folder, out)
    assert report.done == 2 and [path.name for path in report.kept] == ['0000.png']
    assert (out / '0000.png').read_bytes() == b'mine'
    assert work(folder, out, overwrite=True).done == 1 and (out / '0000.png').read_bytes() != b'mine'
    assert work(folder, out, overwrite=True).already == 3
    assert len(work(folder, out, how=Say(seconds=.001)).kept) == 3 # another job: its results are not ours
    Image.new('L', (9, 9)).save(folder / '0002.png')
    assert work(folder, out).done == 1 # a changed photograph is done again
    assert Image.open(out / '0002.png').size == (9, 9)

def test_no_work_without_a_model(tmp_path):
    with pytest.raises(ValueError, match='no such folder of weights'):
        work(photos(tmp_path / 'in'), tmp_path / 'out', make=broken)
    assert not results(tmp_path / 'out')

def test_one_job_in_a_folder(tmp_path):
    folder = photos(tmp_path / 'in')
    with Job(tmp_path / 'out', Say(), make=turning):
        with pytest.raises(ValueError, match='another job is writing there'): work(folder, tmp_path / 'out')

SCRIPT = """
import sys
from pathlib import Path
from works import Say, turning
from colorize_nb.jobs.local import run_job
from colorize_nb.plan import make_plan
if __name__ == "__main__":
    plan = make_plan([sys.argv[1]], out=Path(sys.argv[2]))
    print(run_job(plan, Say(.05, sys.argv[3]), jobs=2, quiet=True, make=turning))
"""

def begin(tmp_path, count=40):
    "A job in a process of its own, and its worker processes, when a few photographs are done."
    folder, out, log = photos(tmp_path / 'in', count), tmp_path / 'out', tmp_path / 'log'
    (tmp_path / 'job.py').write_text(SCRIPT)
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')])}
    words = [sys.executable, tmp_path / 'job.py', folder, out, log]
    process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)
    limit = time.time() + 300
    while len(worked(log)) < 6 and time.time() < limit and process.poll() is None: time.sleep(.02)
    assert process.poll() is None, process.stderr.read()
    return process, psutil.Process(process.pid).children(recursive=True), folder, out, log

def whole(out):
    "Every picture can be decoded."
    for name in results(out): Image.open(out / name).load()
    return results(out)

@pytest.mark.parametrize('kill', [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_and_run_again(tmp_path, kill):
    process, workers, folder, out, log = begin(tmp_path)
    process.send_signal(kill)
    process.wait(60)
    assert not psutil.wait_procs(workers, timeout=60)[1] # no worker outlives the job
    finished = whole(out)
    assert 0 < len(finished) < 40
    report = work(folder, out, how=Say(.05, str(log)), jobs=2)
    assert (report.done, report.already, report.kept) == (40 - len(finished), len(finished), ())
    assert len(whole(out)) == 40
    assert not (out / DESK / 'partial').exists()
    assert max(worked(log).count(Path(name).name) for name in finished) == 1 # nothing was done twice

@pytest.fixture
def disk(tmp_path):
    "Makes small disks; skipped where mounting is not allowed."
    mounted = []
    def mount(options):
        folder = tmp_path / f'disk{len(mounted)}'
        folder.mkdir()
        words = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder]
        if subprocess.run(words, capture_output=True).returncode: pytest.skip('mounting a tmpfs is not allowed here')
        mounted.append(folder)
        return folder
    yield mount
    for folder in mounted: subprocess.run(['umount', '-l', folder])

def test_full_disk(tmp_path, disk):
    folder, out = photos(tmp_path / 'in', 30, side=200), disk('size=700k')
    with pytest.raises(OSError, match='No space left') as error: work(folder, out)
    assert 'goes on from there' in str(error.value)
    assert 0 < len(whole(out)) < 30
    subprocess.run(['mount', '-o', 'remount,size=20m', out], check=True)
    report = work(folder, out)
    assert report.already > 0 and report.done + report.already == 30 and not report.kept and len(whole(out)) == 30

def test_read_only_folder(tmp_path, disk, model):
    folder, out = photos(tmp_path / 'in', 2), disk('ro,size=1m')
    done = cli('colorize', folder, '-o', out, '--weights', model)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert 'Read-only file system' in done.stderr.splitlines()[-1]

def test_memory_stays_flat(tmp_path, soak):
    "Of all processes, after each fifth of the photographs; with the model that ships in the long form."
    if soak: return check_growth(bench_folder(1000), bench_folder(1000, many_shapes=True))
    folder, out, used = photos(tmp_path / 'in', 50), tmp_path / 'out', []
    plan, me = make_plan([str(folder)], out=out), psutil.Process()
    with Job(out, Say(), jobs=2, make=turning) as job:
        for part in range(5):
            job.run(plan.tasks[part * 10:(part + 1) * 10], quiet=True)
            used.append(sum(process.memory_info().rss for process in (me, *me.children(recursive=True))))
    assert used[-1] - used[0] < 50e6, used

def check_growth(*results):
    for result in results: assert result['growth_mb'] < 50, result

def test_the_watch_waits_until_a_file_is_whole(tmp_path, monkeypatch):
    import colorize_nb.jobs.watch as module
    folder, out, said, moments = tmp_path / 'in', tmp_path / 'out', [], []
    picture = photos(tmp_path / 'other', 1) / '0000.png'
    def pause(seconds):
        moments.append(seconds)
        if len(moments) == 1: folder.mkdir(); (folder / 'a.png').write_bytes(picture.read_bytes()[:200])
        if len(moments) == 2: shutil.copy(picture, folder / 'a.png')
        if len(moments) == 5: (folder / 'b.jpg').write_text('not a picture')
    monkeypatch.setattr(module.time, 'sleep', pause)
    with Job(out, Say(), make=turning) as job:
        watch(lambda: make_plan([str(folder)], out=out), job, said.append, looks=12)
    assert [report.done for report in said] == [1, 0] and results(out) == ['a.png']
    assert [path.name for path, _ in said[1].failed] == ['b.jpg']

def test_references_by_name(tmp_path):
    names = ('in/a.jpg', 'in/sub/a.jpg', 'in/b.jpg', 'in/c.jpg', 'refs/a.png', 'refs/sub/a.png', 'refs/other/b.jpg')
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    tasks = make_plan([str(tmp_path / 'in')], [str(tmp_path / 'refs')]).tasks
    below = lambda path, folder: str(path.relative_to(tmp_path / folder))
    told = {below(task.target, 'in'): [below(r, 'refs') for r in task.references] for task in tasks}
    assert told == {'a.jpg': ['a.png'], 'sub/a.jpg': ['sub/a.png'], 'b.jpg': ['other/b.jpg'], 'c.jpg': []}

# the command

@pytest.fixture(scope='module')
def album(tmp_path_factory):
    "Grey drawings in two folders, and coloured ones to take colours from."
    root = tmp_path_factory.mktemp('album')
    for kind in ('tulip', 'daisy'):
        (root / 'grey' / kind).mkdir(parents=True), (root / 'garden').mkdir(exist_ok=True)
        Image.fromarray(draw_flower(kind, seed=1, size=64)).convert('L').save(root / 'grey' / kind / f'{kind}1.jpg')
        for seed in (5, 6):
            flower = Image.fromarray(draw_flower(kind, seed=seed, colouring=seed % 2, size=64))
            flower.save(root / 'garden' / f'{kind}{seed}.png')
    return root

def test_a_folder_with_found_references(album, model, tmp_path):
    out, env = tmp_path / 'out', {**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    (tmp_path / 'grey').symlink_to(album / 'grey')
    bad = tmp_path / 'bad.jpg'
    bad.write_text('not a picture')
    words = ('-r', album / 'garden', '-o', out, '--weights', model, '--jobs', '1')
    done = cli('colorize', album / 'grey', bad, *words, env=env)
    assert done.returncode == 1 and done.stdout.strip() == str(out), done.stderr
    assert '2 coloured' in done.stderr and 'bad.jpg' in done.stderr
    assert [Path(name).name for name in results(out)] == ['daisy1.png', 'tulip1.png']
    lines = [json.loads(line) for line in (out / DESK / 'journal.jsonl').read_text().splitlines()]
    assert all(Path(line['references'][0]).parent == album / 'garden' for line in lines)
    assert all('subject' in line['reasons'][0] for line in lines)
    assert len(list((tmp_path / 'cache').rglob('*.safetensors'))) == 1

def test_a_pattern_beside_the_photos(album, model, tmp_path):
    for kind in ('tulip', 'daisy'): shutil.copy(album / 'grey' / kind / f'{kind}1.jpg', tmp_path / f'{kind}.jpg')
    for count in (2, 0):
        done = cli('colorize', tmp_path / '*.jpg', '--weights', model, '--format', 'jpg')
        assert done.returncode == 0 and "the model's own guess" in done.stderr, done.stderr
        assert f'{count} coloured' in done.stderr
    assert results(tmp_path) == ['daisy.jpg', 'daisy_coloured.jpg', 'tulip.jpg', 'tulip_coloured.jpg']

def test_one_photo_as_people_type_it(album, model, tmp_path):
    shutil.copy(album / 'grey/tulip/tulip1.jpg', tmp_path / 'grey.jpg')
    garden, words = album / 'garden', ('--weights', model)
    done = cli('colorize', 'grey.jpg', '-r', garden / 'tulip5.png', *words, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip() == 'grey_coloured.png', done.stderr
    assert Image.open(tmp_path / 'grey_coloured.png').size == (64, 64)
    again = cli('colorize', 'grey.jpg', *words, cwd=tmp_path)
    assert again.returncode == 2 and '--overwrite' in again.stderr and again.stderr.count('\n') == 1
    several = cli('colorize', 'grey.jpg', '-r', garden / 'tulip5.png', '-r', garden / 'daisy5.png', '-o', 'out.png',
                  '--strength', '0.5', '--reference-box', '0,0,40,50', '--explain', 'why.png', *words, cwd=tmp_path)
    assert several.stdout.split() == ['out_tulip5.png', 'out_daisy5.png', 'out_sheet.png'], several.stderr
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {'grey.jpg', 'grey_coloured.png', 'why.png', *several.stdout.split()}
    (tmp_path / 'out_daisy5.png').unlink()
    again = cli('colorize', 'grey.jpg', '-r', garden / 'tulip5.png', '-r', garden / 'daisy5.png', '-o', 'out.png',
                '--explain', 'new.png', *words, cwd=tmp_path)
    assert again.returncode == 2 and 'out_tulip5.png: is there already' in again.stderr
    assert {path.name for path in tmp_path.iterdir()} == there - {'out_daisy5.png'}

@given(st.lists(st.sampled_from(['a.jpg', 'a.tif', 'a_jpg.png', 'a_tif.png', 'a_jpg_png.jpg', 'a_jpg_png.tif',
                                  'b/a.jpg', 'b/a.bmp']), unique=True, min_size=1))
def test_no_two_results_in_one_place(names):
    files = [Path('album') / name for name in sorted(names)]
    for out in (None, Path('out')):
        places = name_outputs(Photos(Path('album'), files), out)
        assert len(set(places)) == len(files)
        for file, place in zip(files, places): assert place.name.startswith(file.stem)

def test_pipes(album, model, tmp_path):
    command = [COMMAND, 'colorize', '-', '-r', str(album / 'garden/tulip5.png'), '--weights', str(model)]
    picture = (album / 'grey/tulip/tulip1.jpg').read_bytes()
    done = subprocess.run(command, input=picture, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith(b'\x89PNG'), done.stderr
    assert not list(tmp_path.iterdir())
    bad = subprocess.run(command, input=b'nothing', capture_output=True, text=False)
    assert bad.returncode == 2 and not bad.stdout and bad.stderr.count(b'\n') == 1

def test_found_references_and_their_reasons(album, model, tmp_path):
    env = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    words = ('-r', f"auto:{album / 'garden'}", '-k', '2', '-o', tmp_path / 'out.png', '--weights', model)
    done = cli('colorize', album / 'grey/tulip/tulip1.jpg', *words, env=env)
    assert done.returncode == 0 and done.stderr.count('subject') == 2 and len(done.stdout.split()) == 3, done.stderr

@pytest.mark.parametrize('words, cause', [
    (('grey', '-o', 'out.png'), 'need a folder'), (('grey', '-k', '2'), '--blend'), (('grey', '--watch'), '-o'),
    (('nothing/*.jpg',), 'no pictures there'), (('grey', '-r', 'nowhere*'), 'no pictures there'),
    (('garden/tulip5.png', '-o', 'a.png', '--reference-box', '1,2'), 'x,y,width,height'),
    (('garden/tulip5.png', '-o', 'a.png', '-r', 'auto:nowhere'), 'nowhere'),
    (('garden/tulip5.png', '-o', 'a.png', '--explain', 'why.png'), 'nothing to explain'),
    (('grey', '--format', 'xyz'), 'cannot write')])
def test_wrong_words(album, model, words, cause, monkeypatch, capsys):
    from colorize_nb.cli import dispatch
    before = results(album)
    monkeypatch.chdir(album)
    monkeypatch.setattr(sys, 'argv', ['colorize-nb', 'colorize', *words, '--weights', str(model)])
    with pytest.raises(SystemExit) as end: dispatch()
    said = capsys.readouterr().err
    assert end.value.code == 2 and cause in said and said.strip().splitlines()[-1].startswith('colorize-nb:'), said
    assert results(album) == before

def test_ctrl_c_in_a_terminal(album, model, tmp_path):
    "The signal goes to the whole group, as from a keyboard."
    photos(tmp_path / 'in', 200)
    words = [COMMAND, 'colorize', tmp_path / 'in', '-o', tmp_path / 'out', '--weights', model]
    job = subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / 'out').exists() or not results(tmp_path / 'out'):
        time.sleep(.05)
        assert job.poll() is None
    os.killpg(job.pid, signal.SIGINT)
    assert job.wait(60) == 130 and 'Traceback' not in job.stderr.read()
    assert 0 < len(whole(tmp_path / 'out')) < 200
