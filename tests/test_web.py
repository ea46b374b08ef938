"""The page in a real browser: what it makes of photos, and that it keeps them to itself."""

import functools
import http.server
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import zlib

import numpy
import pytest
from PIL import Image

import files
from conftest import ROOT

WEB = os.path.join(ROOT, 'web')
MODULES = os.path.join(WEB, 'node_modules')
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
if not (CHROMIUM and shutil.which('node') and os.path.isdir(os.path.join(MODULES, 'playwright-core'))):
    pytest.skip('chromium or packages of node are missing: make web-deps installs them', allow_module_level=True)
pytest.importorskip('onnx')

MODEL = 'misc32-slim' if os.path.exists(os.path.join(ROOT, 'data', 'models', 'misc32-slim.npz')) else 'misc32'
READY = r"/\d pixels in /.test(document.getElementById('status').textContent)"
SHOWN = "document.getElementById('photo').getAttribute('aria-label').endsWith(name)"


class Browser:
    """The page in Chromium, served by the project's own server.

    Called with the body of an asynchronous JavaScript function of Playwright's page and context, of args and of seen
    (the addresses that were asked for, and what the browser complained of), it gives what that returns.
    """

    def __init__(self, folder):
        self.server = subprocess.Popen(
            [sys.executable, os.path.join(WEB, 'serve.py'), '--port', '0'],
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )
        self.address = self.server.stdout.readline().strip()
        script = os.path.join(ROOT, 'tests', 'support', 'browser.mjs')
        self.process = subprocess.Popen(
            ['node', script, MODULES, CHROMIUM, str(folder), self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            universal_newlines=True,
            env=dict(os.environ, PW_EXPERIMENTAL_SERVICE_WORKER_NETWORK_EVENTS='1'),
        )
        self.folder = folder
        assert self.process.stdout.readline(), 'the browser did not start'
        self.wait()

    def __call__(self, code, **args):
        self.process.stdin.write(json.dumps(dict(code=code, args=args)) + '\n')
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert 'error' not in answer, answer['error']
        return answer['value']

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.server.terminate()
        self.server.wait(30)

    def wait(self, name=''):
        """Wait until the pastiche of the photo of this name is there; of any, if none is given."""
        self(f'await page.waitForFunction((name) => {READY} && {SHOWN}, args.name)', name=name)

    def text(self, name):
        return self('return page.textContent(args.name)', name=name)

    def use(self, path):
        """Choose a photo, and wait for its pastiche or a complaint, which is returned."""
        self(
            "await page.evaluate(() => { document.getElementById('status').textContent = ''; });"
            "await page.setInputFiles('#file', args.path);"
            f'await page.waitForFunction((name) => {READY} && {SHOWN} ||'
            "document.getElementById('problem').textContent, args.path.split('/').pop())",
            path=str(path),
        )
        return self.text('#problem')

    def download(self):
        """What the button gives, as an array, and under which name."""
        path = str(self.folder / 'download.png')
        name = self(
            "const waiting = page.waitForEvent('download'); await page.click('#download');"
            'const download = await waiting; await download.saveAs(args.path); return download.suggestedFilename()',
            path=path,
        )
        return files.read_image(path), name


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    built = subprocess.run([sys.executable, os.path.join(WEB, 'build.py'), MODEL], stderr=subprocess.PIPE, text=True)
    assert built.returncode == 0, built.stderr
    browser = Browser(tmp_path_factory.mktemp('browser'))
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def nothing_amiss(browser):
    """No test leaves a complaint of the browser behind, nor has asked another host for anything."""
    browser("await page.selectOption('#size', '256')")
    yield
    seen = browser('const { problems } = seen; seen.problems = []; return { problems, requests: seen.requests }')
    assert seen['problems'] == []
    assert [url for url in seen['requests'] if not url.replace('blob:', '', 1).startswith(browser.address)] == []


def decibels(a, b):
    """Peak signal to noise ratio of two images of 8 bits."""
    assert a.shape == b.shape
    return 10 * numpy.log10(255.0**2 / numpy.mean((a.astype('float64') - b) ** 2))


def sample(path, height, width):
    """Write a part of a sample photo, without loss; returns it."""
    photo = files.cover(files.read_image(os.path.join(ROOT, 'data', 'samples', 'cat.jpg')), height, width)
    files.write_image(str(path), photo)
    return photo


def stylized(run, folder, photo, *style):
    """What stylize.py makes of a photo."""
    path = str(folder / 'expected.png')
    done = run('stylize.py', '--model', MODEL, *style, photo, '--output', path, '--overwrite')
    assert done.returncode == 0, done.stderr
    return files.read_image(path)


def drop(browser, path):
    """Drop a file on the page."""
    with open(str(path), 'rb') as file:
        data = list(file.read())
    browser(
        'const data = await page.evaluateHandle(([bytes, name]) => { const data = new DataTransfer();'
        'data.items.add(new File([new Uint8Array(bytes)], name)); return data; }, [args.bytes, args.name]);'
        "await page.evaluate(() => { document.getElementById('status').textContent = ''; });"
        "await page.dispatchEvent('body', 'drop', { dataTransfer: data })",
        bytes=data,
        name=os.path.basename(str(path)),
    )
    browser.wait()


def test_the_pastiche_of_a_dropped_photo_is_that_of_stylize(browser, run, tmp_path):
    """To 40 dB at 512 x 512, and the download has the names of photo and style."""
    sample(tmp_path / 'cat.png', 512, 512)
    browser("await page.selectOption('#size', '512')")
    drop(browser, tmp_path / 'cat.png')
    pastiche, name = browser.download()
    assert name == 'cat_stained-glass.png'
    assert decibels(pastiche, stylized(run, tmp_path, tmp_path / 'cat.png', '--style', 'stained-glass')) >= 40


def test_a_style_takes_the_nearest_corner_and_the_pad_blends_four(browser, run, tmp_path):
    """The sides of the photo are no multiples of 4 and below the 16 pixels that reflection needs."""
    sample(tmp_path / 'cat.png', 70, 13)
    assert browser.use(tmp_path / 'cat.png') == ''
    browser("await page.getByRole('radio', { name: 'batik' }).click()")
    assert browser.text('#mixture') == '100 % batik'
    browser(
        "const pad = page.locator('#pad'); await pad.scrollIntoViewIfNeeded(); const box = await pad.boundingBox();"
        'const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];'
        'await page.mouse.move(...at(0.1, 0.1)); await page.mouse.down();'
        'await page.mouse.move(...at(0.9, 0.3), { steps: 5 }); await page.mouse.move(...at(0.5, 0.5));'
        'await page.mouse.up()'
    )
    four = ['batik', 'golden-spirals', 'ink-wash', 'lily-pond']
    assert browser.text('#mixture') == ', '.join('25 % ' + name.replace('-', ' ') for name in four)
    browser.wait()
    pastiche, name = browser.download()
    assert name == f'cat_{"+".join(four)}.png'
    expected = stylized(run, tmp_path, tmp_path / 'cat.png', '--blend', ','.join(f'{name}=0.25' for name in four))
    assert decibels(pastiche, expected) >= 40


def test_strength_blends_the_photo_in(browser, tmp_path):
    photo = sample(tmp_path / 'cat.png', 64, 48)
    assert browser.use(tmp_path / 'cat.png') == ''
    results = []
    for strength in (100, 50, 0):
        browser("await page.fill('#strength', args.value)", value=str(strength))
        results.append(browser.download()[0].astype(float))
    browser("await page.fill('#strength', '100')")
    numpy.testing.assert_array_equal(results[2], photo)
    assert numpy.abs(results[1] - (results[0] + results[2]) / 2).max() <= 1.5
    assert decibels(results[0], results[2]) < 25


def test_all_can_be_done_from_the_keyboard_and_has_a_name(browser):
    """The pad by arrows, the styles as one group; every control says what it is."""
    nameless = browser(
        "const kinds = 'button, input, select, [role=slider], canvas, progress';"
        'return page.evaluate((kinds) => [...document.querySelectorAll(kinds)]'
        '.filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML), kinds)'
    )
    assert nameless == []
    said = []
    browser("await page.focus('#handle'); for (let i = 0; i < 25; i++) await page.keyboard.press('ArrowLeft')")
    browser("for (let i = 0; i < 25; i++) await page.keyboard.press('ArrowUp')")
    browser("await page.locator('#styles input:checked').focus(); await page.keyboard.press('ArrowRight')")
    said.append(browser.text('#mixture'))
    browser("await page.focus('#handle'); for (let i = 0; i < 5; i++) await page.keyboard.press('ArrowRight')")
    said.append(browser("return page.getAttribute('#handle', 'aria-valuetext')"))
    assert said == ['100 % kilim', '75 % kilim, 25 % golden spirals']
    browser("await page.focus('#split'); await page.keyboard.press('Home')")
    assert browser("return page.evaluate(() => getComputedStyle(document.getElementById('photo')).clipPath)") == (
        'inset(0px 100% 0px 0px)'
    )
    browser.wait()


def test_what_is_no_picture_is_refused_in_one_sentence_and_costs_nothing(browser, tmp_path):
    (tmp_path / 'notes.txt').write_text('no picture')
    with open(str(tmp_path / 'photo.heic'), 'wb') as file:
        file.write(b'\0\0\0\x18ftypheic' + bytes(100))
    (tmp_path / 'empty.png').write_bytes(b'')
    sample(tmp_path / 'cat.png', 40, 40)
    assert browser.use(tmp_path / 'cat.png') == ''
    before = browser.download()[0]
    for name in ('notes.txt', 'photo.heic', 'empty.png'):
        said = browser.use(tmp_path / name)
        assert said.startswith(name + ': ') and said.endswith('.') and 'cannot read it as a picture' in said
    numpy.testing.assert_array_equal(browser.download()[0], before)
    assert browser.use(tmp_path / 'cat.png') == ''


def test_a_photo_of_100_megapixels_is_made_smaller(browser, tmp_path):
    stripes = numpy.repeat(25 * numpy.arange(10, dtype='uint8'), 1000)
    Image.fromarray(numpy.tile(stripes, (10000, 1))).save(str(tmp_path / 'large.jpg'))
    assert browser.use(tmp_path / 'large.jpg') == ''
    assert browser.text('#status').startswith('256 × 256 pixels')
    browser("await page.fill('#strength', '0')")
    photo = browser.download()[0]
    browser("await page.fill('#strength', '100')")
    middles = [int(25.6 * (i + 0.5)) for i in range(10)]
    numpy.testing.assert_allclose(photo[128, middles].mean(axis=1), 25 * numpy.arange(10), atol=4)


def test_a_photo_of_225_megapixels_is_refused_in_one_sentence(browser, tmp_path):
    """A PNG of one bit for each pixel, of 30 kB, which would take 900 MB decoded."""
    side = 15000
    packer = zlib.compressobj(1)
    rows = b''.join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()
    with open(str(tmp_path / 'huge.png'), 'wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n')
        for kind, data in (
            (b'IHDR', struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0)),
            (b'IDAT', rows),
            (b'IEND', b''),
        ):
            file.write(struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)))
    assert browser.use(tmp_path / 'huge.png') == 'huge.png: It has 225 megapixels, and this page takes up to 200.'


def test_a_photo_lies_as_its_camera_was_held(browser, tmp_path):
    """Where it is made smaller, too, and its sides are exchanged."""
    image = numpy.zeros((600, 900, 3), 'uint8')
    image[:, :300] = 255, 0, 0
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(image).save(str(tmp_path / 'turned.jpg'), exif=exif)
    assert browser.use(tmp_path / 'turned.jpg') == ''
    browser("await page.fill('#strength', '0')")
    photo = browser.download()[0]
    browser("await page.fill('#strength', '100')")
    assert photo.shape == (384, 256, 3)
    assert photo[60, 128, 0] > 250 and photo[300, 128].max() < 5


def test_the_webcam_gives_a_photo(browser):
    browser(
        "await page.evaluate(() => { document.getElementById('status').textContent = ''; });"
        "await page.click('#webcam'); await page.waitForFunction(() => document.getElementById('video').videoWidth);"
        "await page.click('#take')"
    )
    browser.wait('webcam.png')


def test_a_photo_can_be_pasted(browser, tmp_path):
    sample(tmp_path / 'pasted.png', 32, 32)
    with open(str(tmp_path / 'pasted.png'), 'rb') as file:
        data = list(file.read())
    browser(
        "await page.evaluate((bytes) => { document.getElementById('status').textContent = '';"
        "const data = new DataTransfer(); data.items.add(new File([new Uint8Array(bytes)], 'pasted.png'));"
        "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data })); }, args.bytes)",
        bytes=data,
    )
    browser.wait('pasted.png')


def test_slips_of_the_commands_are_one_line(browser, fails):
    assert 'are not those of' in fails('web/build.py', 'paintings16')
    port = browser.address.rstrip('/').rpartition(':')[2]
    assert f'port {port} cannot be had' in fails('web/serve.py', '--port', port)


def test_threads_come_by_the_service_worker_where_the_host_sends_no_headers(browser):
    """From the second visit on."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = dict(http.server.SimpleHTTPRequestHandler.extensions_map, **{'.mjs': 'text/javascript'})

        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=os.path.join(WEB, 'dist'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        isolated = browser(
            'const other = await context.newPage(); const results = []; await other.goto(args.address);'
            'results.push(await other.evaluate(() => crossOriginIsolated));'
            'await other.waitForFunction(() => navigator.serviceWorker.controller); await other.reload();'
            'results.push(await other.evaluate(() => crossOriginIsolated)); await other.close();'
            'seen.requests = seen.requests.filter((url) => !url.includes(args.address)); return results',
            address=f'http://localhost:{server.server_port}/',
        )
        server.shutdown()
    assert isolated == [False, True]


def test_the_page_works_without_a_network_after_the_first_visit(browser):
    """The server is gone; the photo that the page begins with gets its pastiche."""
    browser.server.terminate()
    browser.server.wait(30)
    browser('await page.reload()')
    browser.wait()
    assert browser.text('#problem') == ''
    assert browser('return page.evaluate(() => crossOriginIsolated)')
