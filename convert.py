"""Carry trained networks to other programs, and those of other projects here.

    python convert.py misc32 misc32.onnx
    python convert.py misc32 stained-glass.onnx --style stained-glass --half filters
    python convert.py multistyle26.onnx multistyle26.npz

An ONNX file takes photos (N, 3, height, width), RGB in [0, 1], as 'image', and weights (N, styles) as 'style', and
gives 'pastiche'. docs/exchange.md names the networks that can be read.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
import environment  # noqa: F401, before all others: it names what is missing

import files
import options
import utils
from formats import foreign, networks, onnx_graph


def parse_arguments():
    parser = options.Parser(__doc__)
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='a trained network, ours or of another project, or the name of one in data/models',
    )
    parser.add_argument(
        'output', metavar='OUTPUT', help='the file to write: .npz, the format of this project, or .onnx'
    )
    options.add_network(parser, 'MODEL')
    parser.add_argument('--style', metavar='NAME', help='give the ONNX file this style alone, and no input for styles')
    parser.add_argument(
        '--half',
        choices=['filters', 'convolutions'],
        help='ONNX: store the filters in float16, which makes the file half as large; with "convolutions" compute '
        'these in float16 as well, for hardware that does so. Image, style, pastiche and normalization stay float32',
    )
    options.add_overwrite(parser)
    return parser.parse_args()


def main():
    args = parse_arguments()
    path = networks.find(args.model)
    if not args.output.endswith(('.npz', '.onnx')):
        raise utils.UserError(f'{args.output}: only .npz and .onnx can be written')
    if args.output.endswith('.npz') and (args.style is not None or args.half is not None):
        raise utils.UserError(f'--style and --half are for .onnx, and {args.output} is not')
    files.check_outputs({args.output: False}, [path], args.overwrite)
    network = foreign.read(path, args.network)
    if args.output.endswith('.npz'):
        networks.write(args.output, *network)
    else:
        onnx_graph.write(args.output, *network, half=args.half, style=args.style)
    print(args.output)


if __name__ == '__main__':
    utils.run_script(main)
