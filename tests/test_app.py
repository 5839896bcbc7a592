"The page, visited by a headless browser: upload, colour, slider, download, a broken file, two visitors at once."
import os, shutil, socket, subprocess, time, urllib.error, urllib.request
from io import BytesIO
import pytest
from PIL import Image
from conftest import COMMAND
from colorize_nb.data.garden import draw_flower

PATIENCE = 240

def missing(reason):
    "Skip with a reason; where everything should be there (`.ci/run`), fail."
    (pytest.fail if os.environ.get('NO_SKIPS') else pytest.skip)(reason)

@pytest.fixture(scope='module')
def browser():
    "Opens browsers."
    try: from selenium import webdriver
    except ImportError: missing('no selenium: pip install selenium')
    programs = [shutil.which(name) for name in ('chromium', 'chromedriver')]
    if not all(programs): missing('no chromium with chromedriver: apt-get install chromium chromium-driver')
    opened = []
    def open_browser():
        options = webdriver.ChromeOptions()
        options.binary_location = programs[0]
        for word in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--window-size=1300,1500'):
            options.add_argument(word)
        opened.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1])))
        return opened[-1]
    yield open_browser
    for one in opened: one.quit()

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "Photographs of two visitors, references, and a broken file."
    folder = tmp_path_factory.mktemp('visitors')
    for name, kind, size in (('anna', 'tulip', (640, 410)), ('bert', 'daisy', (333, 520))):
        Image.fromarray(draw_flower(kind, seed=1, size=300)).resize(size).convert('L').save(folder / f'{name}.png')
        Image.fromarray(draw_flower(kind, seed=2, colouring=1, size=200)).save(folder / f'{name}_garden.png')
    (folder / 'broken.jpg').write_text('not a picture')
    (folder / 'offer').mkdir()
    for seed in range(3): Image.fromarray(draw_flower('tulip', seed=seed, size=90)).save(folder / f'offer/{seed}.png')
    return folder

@pytest.fixture(scope='module')
def address(files, browser, tmp_path_factory):
    "A page that is being served."
    with socket.socket() as free: free.bind(('127.0.0.1', 0)); port = free.getsockname()[1]
    place = tmp_path_factory.mktemp('server')
    env = {**os.environ, 'XDG_CACHE_HOME': str(place), 'TMPDIR': str(place)}
    words = [COMMAND, 'app', '--port', str(port), '--references', files / 'offer']
    with open(place / 'log', 'w') as log: server = subprocess.Popen(words, stdout=log, stderr=log, env=env)
    limit = time.time() + PATIENCE
    while server.poll() is None and time.time() < limit:
        try: urllib.request.urlopen(f'http://127.0.0.1:{port}', timeout=5); break
        except OSError: time.sleep(.5)
    assert server.poll() is None, (place / 'log').read_text()
    yield f'http://127.0.0.1:{port}'
    server.terminate()
    server.wait(60)

def wait(driver, selector, count=1):
    "Elements of the page, as soon as there are so many."
    limit = time.time() + PATIENCE
    while len(found := driver.find_elements('css selector', selector)) < count and time.time() < limit: time.sleep(.2)
    if len(found) < count: raise AssertionError(f'{selector}: {len(found)} of {count}; ' + driver.page_source[-3000:])
    return found

def give(driver, part, *paths):
    wait(driver, f'#{part} input[type=file]')[0].send_keys('\n'.join(map(str, paths)))

def press(driver, part):
    driver.execute_script('arguments[0].click()', wait(driver, f'#{part}')[0])

def download(driver):
    "The full-size result, as its link gives it."
    link = wait(driver, '#files a[href*="_coloured"]')[0].get_attribute('href')
    return link, Image.open(BytesIO(urllib.request.urlopen(link).read()))

def keep(driver, name):
    "A screenshot, where somebody wants to look at it."
    if folder := os.environ.get('SCREENSHOTS'): driver.save_screenshot(f'{folder}/{name}.png')

def test_a_visit(browser, address, files):
    driver = browser()
    driver.get(address)
    give(driver, 'target', files / 'anna.png')
    wait(driver, '#seen img')
    give(driver, 'references', files / 'anna_garden.png')
    wait(driver, '#gallery img')
    press(driver, 'colour')
    before, after = wait(driver, '#slider img', 2)[:2]
    assert before.get_attribute('src') != after.get_attribute('src')
    link, result = download(driver)
    assert result.size == (640, 410) and result.mode == 'RGB'
    assert result.convert('HSV').resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))[1] > 5
    move_the_slider(driver)
    keep(driver, 'result')
    why = driver.find_elements('css selector', 'button[role=tab]')[-1]
    driver.execute_script('arguments[0].click()', why)
    wait(driver, '#why img')
    time.sleep(2)
    keep(driver, 'why')

def bring_into_view(driver, element, room):
    "Scroll until an element stands still, with room to its left; pictures that arrive late push it about."
    script = """arguments[0].scrollIntoView({block: "center", behavior: "instant"})
                const {left, top, right, bottom} = arguments[0].getBoundingClientRect()
                const seen = arguments[1] <= left && 0 <= top && right <= innerWidth && bottom <= innerHeight
                return [seen, left, top]"""
    limit, places = time.time() + PATIENCE, [None]
    while time.time() < limit:
        places.append(driver.execute_script(script, element, room))
        if places[-1][0] and places[-1] == places[-2]: return
        time.sleep(.3)
    raise AssertionError(f'does not come to rest: {places[-3:]}')

def move_the_slider(driver):
    "Drag its handle to the left: another part of the picture is covered."
    from selenium.webdriver import ActionChains
    handle = wait(driver, '#slider .icon.center')[0]
    bring_into_view(driver, handle, 90)
    state = lambda: driver.execute_script('return document.querySelector("#slider").innerHTML')
    first = state()
    ActionChains(driver).click_and_hold(handle).move_by_offset(-90, 0).release().perform()
    assert state() != first

def test_a_broken_file_is_told_in_a_line(browser, address, files):
    driver = browser()
    driver.get(address)
    give(driver, 'target', files / 'broken.jpg')
    words = lambda: ' '.join(toast.text for toast in wait(driver, '[data-testid=toast-body], .toast-body'))
    limit = time.time() + PATIENCE
    while 'broken' not in (told := words()) and time.time() < limit: time.sleep(.2)
    assert 'broken.jpg' in told and 'Traceback' not in told and str(files) not in told

def test_two_visitors_at_once(browser, address, files):
    visits = {name: browser() for name in ('anna', 'bert')}
    for name, driver in visits.items():
        driver.get(address)
        give(driver, 'target', files / f'{name}.png')
        give(driver, 'references', files / f'{name}_garden.png')
    for driver in visits.values(): wait(driver, '#seen img'), wait(driver, '#gallery img')
    for driver in visits.values(): press(driver, 'colour')
    links = {}
    for name, driver in visits.items():
        links[name], result = download(driver)
        assert result.size == Image.open(files / f'{name}.png').size and f'{name}_coloured' in links[name]
    assert 'bert' not in visits['anna'].page_source and 'anna' not in visits['bert'].page_source
    secret = links['anna'].split('/')[-2] # nobody can guess the folder, nor list what is above it
    assert len(secret) >= 8
    with pytest.raises(urllib.error.HTTPError): urllib.request.urlopen(links['anna'].rsplit('/', 2)[0])

def test_suggestions(browser, address, files):
    driver = browser()
    driver.get(address)
    give(driver, 'target', files / 'anna.png')
    wait(driver, '#seen img')
    press(driver, 'suggest')
    wait(driver, '#chosen input', 3)
    press(driver, 'colour')
    assert download(driver)[1].size == (640, 410)
