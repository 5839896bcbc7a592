"Each command that the README tells people to type is run, in a folder that holds what it names."
import os, re, shutil, signal, socket, subprocess, time
import pytest
from PIL import Image
from conftest import COMMAND
from readme import readme
from colorize_nb.data.garden import draw_flower

block = re.search(r'## Your photographs\s+```bash\n(.*?)```', readme(), re.S)[1]
COMMANDS = [re.split(r'\s+#', line)[0] for line in block.splitlines()]

@pytest.fixture(scope='module')
def desk(tmp_path_factory):
    "grey.jpg, garden.jpg, meadow.jpg, album, inbox and colour_photos."
    folder = tmp_path_factory.mktemp('desk')
    for name in ('album', 'inbox', 'colour_photos'): (folder / name).mkdir()
    flower = lambda kind, seed: Image.fromarray(draw_flower(kind, seed=seed, colouring=seed % 3, size=96))
    flower('tulip', 1).save(folder / 'garden.jpg')
    flower('daisy', 2).save(folder / 'meadow.jpg')
    flower('tulip', 3).convert('L').save(folder / 'grey.jpg')
    for name in ('album/tulip.jpg', 'album/other.jpg', 'inbox/new.jpg'): shutil.copy(folder / 'grey.jpg', folder / name)
    for kind in ('tulip', 'rose', 'daisy'): flower(kind, 4).save(folder / 'colour_photos' / f'{kind}.png')
    return folder

def told(desk):
    "Where programs are found, and where they may keep things."
    path = os.pathsep.join([str(COMMAND.parent), os.environ['PATH']])
    return {'cwd': desk, 'env': {**os.environ, 'PATH': path, 'XDG_CACHE_HOME': str(desk / '.cache')}}

@pytest.mark.parametrize('words', [words for words in COMMANDS if '--watch' not in words and ' app ' not in words])
def test_a_command_of_the_readme(desk, words):
    before = {path for path in desk.rglob('*') if '.cache' not in path.parts}
    done = subprocess.run(words, shell=True, capture_output=True, text=True, timeout=600, **told(desk))
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    made = {path for path in desk.rglob('*.[pj][np]g') if '.cache' not in path.parts} - before
    assert made
    for path in made: Image.open(path).load()

def until(process, ready):
    "Wait for something, then press Ctrl-C."
    limit = time.time() + 300
    while not ready() and process.poll() is None and time.time() < limit: time.sleep(.2)
    there = ready()
    process.send_signal(signal.SIGINT)
    process.wait(60)
    return there

def test_the_watch_of_the_readme(desk):
    words = next(words for words in COMMANDS if '--watch' in words)
    process = subprocess.Popen(['bash', '-c', f'exec {words}'], **told(desk))
    assert until(process, (desk / 'outbox/new.png').exists) and process.returncode == 130

def test_the_page_of_the_readme(desk):
    pytest.importorskip('gradio')
    words = next(words for words in COMMANDS if ' app ' in words)
    with socket.socket() as free: free.bind(('127.0.0.1', 0)); port = free.getsockname()[1]
    def answers():
        with socket.socket() as one: return one.connect_ex(('127.0.0.1', port)) == 0
    assert until(subprocess.Popen(['bash', '-c', f'exec {words} --port {port}'], **told(desk)), answers)
