"""Serve web/dist on this machine, with the headers that the page's threads need.

python web/serve.py --port 8000
"""

import argparse
import functools
import http.server
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {'.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm', '.webp': 'image/webp'}
TYPES.update({'.webmanifest': 'application/manifest+json', '.onnx': 'application/octet-stream'})


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--port', type=int, default=8000, help='0 for any that is free')
    return parser.parse_args()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files with headers.json, and without a line for each."""

    protocol_version = 'HTTP/1.1'
    extensions_map = dict(http.server.SimpleHTTPRequestHandler.extensions_map, **TYPES)

    def end_headers(self):
        for name, value in self.headers_of_page.items():
            self.send_header(name, value)
        self.send_header('Cache-Control', 'no-cache')
        super().end_headers()

    def list_directory(self, path):
        self.send_error(404)

    def log_message(self, *args):
        pass


def main():
    args = parse_arguments()
    folder = os.path.join(HERE, 'dist')
    if not os.path.exists(os.path.join(folder, 'index.html')):
        sys.exit('error: the page is not built: make web builds it')
    with open(os.path.join(HERE, 'headers.json'), encoding='utf-8') as file:
        Handler.headers_of_page = json.load(file)
    try:
        server = http.server.ThreadingHTTPServer(('127.0.0.1', args.port), functools.partial(Handler, directory=folder))
    except (OSError, OverflowError) as error:
        sys.exit(f'error: port {args.port} cannot be had ({error}): choose another by --port')
    print(f'http://localhost:{server.server_port}/', flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == '__main__':
    main()
