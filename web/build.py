"""Build the page for the browser: web/dist, a folder of static files.

python web/build.py misc32
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import environment  # noqa: F401, before all others: it names what is missing

import hashlib
import json
import shutil

from PIL import Image

import files
import options
import utils
from formats import networks, onnx_graph

ROOT = os.path.dirname(HERE)
# Built beside the page that is there, which it replaces when it is whole.
OUTPUT, PAGE_FOLDER = os.path.join(HERE, 'dist.part'), os.path.join(HERE, 'dist')
STYLES = os.path.join(ROOT, 'data', 'styles', 'misc32')
SAMPLE = os.path.join(ROOT, 'data', 'samples', 'pavilion.jpg')
RUNTIME = os.path.join(HERE, 'node_modules', 'onnxruntime-web')
PAGE = ['page.css', 'page.js', 'worker.js', 'sw.js', 'manifest.webmanifest', 'icon.svg']
LIBRARIES = ['ort.wasm.bundle.min.mjs', 'ort.webgpu.bundle.min.mjs']
# Of these a browser needs one: the second where it has WebGPU.
BINARIES = ['ort-wasm-simd-threaded.wasm', 'ort-wasm-simd-threaded.asyncify.wasm']
# Sides of a thumbnail, and of the part of a style image that it shows, as a fraction of the shorter side.
THUMBNAIL, PART = 144, 0.55


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument('model', metavar='MODEL', help='a network of the styles in data/styles/misc32')
    return parser.parse_args()


def write(name, content):
    """Write a file of the page, text or bytes."""
    with open(os.path.join(OUTPUT, name), 'wb') as file:
        file.write(content.encode('utf-8') if isinstance(content, str) else content)


def read(*path):
    """The text of a file."""
    with open(os.path.join(*path), encoding='utf-8') as file:
        return file.read()


def copy_libraries():
    """ONNX Runtime, as npm has installed it, and its licence beside the project's own; its version."""
    if not os.path.exists(os.path.join(RUNTIME, 'package.json')):
        raise utils.UserError('onnxruntime-web is not installed: make web installs it, or npm ci in the folder web')
    for name in LIBRARIES + BINARIES:
        shutil.copyfile(os.path.join(RUNTIME, 'dist', name), os.path.join(OUTPUT, name))
    package = json.loads(read(RUNTIME, 'package.json'))
    licences = [
        f'gogh-figure\n\n{read(ROOT, "LICENSE")}',
        f'ONNX Runtime Web {package["version"]}, https://github.com/microsoft/onnxruntime',
        'Copyright (c) Microsoft Corporation; the MIT License as above; its parts are in ThirdPartyNotices.txt there.',
    ]
    write('licences.txt', '\n'.join(licences) + '\n')
    return package['version']


def write_network(model):
    """The network with filters in half precision; the names of its styles."""
    network = networks.read(networks.find(model))
    styles = json.loads(read(STYLES, 'styles.json'))
    if network[1] != styles:
        raise utils.UserError(f'{model}: its styles are not those of {STYLES}, which the page shows')
    onnx_graph.write(os.path.join(OUTPUT, 'network.onnx'), *network, half='filters')
    return styles


def write_thumbnails(styles):
    """The middle of each style image, small."""
    os.mkdir(os.path.join(OUTPUT, 'styles'))
    for number, name in enumerate(styles):
        image = files.read_image(os.path.join(STYLES, f'{number:02d}_{name}.jpg'))
        height, width = image.shape[:2]
        side = int(PART * min(height, width))
        top, left = (height - side) // 2, (width - side) // 2
        small = Image.fromarray(image[top : top + side, left : left + side]).resize([THUMBNAIL] * 2, Image.LANCZOS)
        small.save(os.path.join(OUTPUT, 'styles', name + '.webp'), quality=82, method=6)


def write_lists(styles, runtime):
    """What the page, its service worker and hosts of static files want to know of the others."""
    headers = json.loads(read(HERE, 'headers.json'))
    # What a page says of itself cannot be about the pages around it.
    policy = headers['Content-Security-Policy'].replace("; frame-ancestors 'none'", '')
    write('index.html', read(HERE, 'index.html').replace('CONTENT_SECURITY_POLICY', policy))
    sizes = {name: os.path.getsize(os.path.join(OUTPUT, name)) for name in BINARIES + ['network.onnx']}
    write('page.json', json.dumps({'styles': styles, 'sizes': sizes}))
    kept = ['index.html', 'page.json', 'network.onnx', 'pavilion.jpg', 'licences.txt'] + LIBRARIES
    kept += [name for name in PAGE if name != 'sw.js'] + [f'styles/{name}.webp' for name in styles]
    version = hashlib.sha256()
    for name in kept + ['sw.js']:
        with open(os.path.join(OUTPUT, name), 'rb') as file:
            version.update(file.read())
    constants = dict(VERSION=version.hexdigest()[:12], RUNTIME_VERSION=runtime, HEADERS=headers, FILES=kept)
    write('files.js', ''.join(f'const {name} = {json.dumps(value)};\n' for name, value in constants.items()))
    write('_headers', '/*\n' + ''.join(f'  {name}: {value}\n' for name, value in headers.items()))


def main():
    args = parse_arguments()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    os.mkdir(OUTPUT)
    runtime = copy_libraries()
    styles = write_network(args.model)
    write_thumbnails(styles)
    for name in PAGE:
        shutil.copyfile(os.path.join(HERE, name), os.path.join(OUTPUT, name))
    shutil.copyfile(SAMPLE, os.path.join(OUTPUT, 'pavilion.jpg'))
    write_lists(styles, runtime)
    shutil.rmtree(PAGE_FOLDER, ignore_errors=True)
    os.rename(OUTPUT, PAGE_FOLDER)
    print(PAGE_FOLDER)


if __name__ == '__main__':
    utils.run_script(main)
