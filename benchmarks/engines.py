"""One engine of a benchmark: reads commands, one JSON list a line, and answers each with one JSON line.

    python benchmarks/engines.py ENGINE [--device DEVICE] [--tf32]

`benchmarks/measure.py` and `gpu.py` start it: the engines gogh, gogh-bf16 and plain with the project's interpreter,
torch, torch-channels-last, torch-bf16 (its autocast, channels-last), compile, onnxruntime, openvino and openvino-bf16
with that of the peers. Commands are

    ["stylize", network.npz, image.npy]     prepare to stylize the batch of images in style 0
    ["train", network.npz, vgg.npz, batch.npy]      prepare training steps
    ["run"]     do it once; answers with seconds and the output's path or the loss
    ["memory"]  peak resident memory in MB
    ["versions"]    what computes, in words

Images go in from the processor's memory and come out there, whatever the device.
"""

import argparse
import json
import os
import re
import resource
import sys
import tempfile
import time

import numpy

THREADS = int(os.environ.get('OMP_NUM_THREADS', os.cpu_count()))
STYLE_LAYERS = ['conv1_2', 'conv2_2', 'conv3_3', 'conv4_3']
CONTENT_LAYER = 'conv3_3'
OURS = ('gogh', 'gogh-bf16', 'plain')


def gogh(name, device, tf32):
    """The project itself."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from backend import devices

    devices.use(
        devices.Device(
            device, 'plain' if name == 'plain' else 'onednn', 'bf16' if name == 'gogh-bf16' else 'float32', tf32
        )
    )
    import layers
    import losses
    import models
    import updates
    from backend import T, lasagne, theano

    def stylize(network, image):
        network = models.load_network(network)
        function = models.pastiche_function(network)
        style = layers.style_weights(0, len(network.styles), len(image))
        return lambda: function(image, style)

    def train(network, vgg, batch):
        network = models.load_network(network)
        vgg = dict(numpy.load(vgg))
        image, style = T.tensor4(), T.matrix()
        pastiche = lasagne.layers.get_output(network.output, {network.image: image, network.style: style})
        features = models.loss_network(pastiche, vgg, STYLE_LAYERS)
        target = models.loss_network(image, vgg, [CONTENT_LAYER])[CONTENT_LAYER]
        loss = losses.content_loss(features[CONTENT_LAYER], target).mean()
        for layer in STYLE_LAYERS:
            gram = losses.gram_matrix(features[layer])
            loss += 1e-4 * losses.style_loss(gram, T.zeros_like(gram)).mean()
        params = lasagne.layers.get_all_params(network.output, trainable=True)
        step = theano.function([image, style], loss, updates=updates.adam(loss, params, 1e-3))
        rows = layers.style_weights([i % 2 for i in range(len(batch))], len(network.styles))
        return lambda: float(step(batch, rows))

    def versions():
        words = 'gogh-figure on Theano %s, Python %d.%d' % ((theano.__version__,) + sys.version_info[:2])
        if device == 'cpu':
            return words
        import pygpu
        from theano.gpuarray import dnn, type

        context = type.get_context(None)
        number = dnn.version(raises=False) if dnn.dnn_available(None) else None
        return (
            f'{words}, pygpu {pygpu.__version__}, {context.devname}, '
            f'{(f"cuDNN {number}" if number else "without cuDNN")}'
        )

    return stylize, train, versions


def peers(name, device, tf32):
    """The same networks in PyTorch, run by it or by what it exports to."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(THREADS)
    # The fastest of cuDNN's algorithms by measuring them, in the precision that the others have.
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    layout = torch.channels_last if name in ('torch-channels-last', 'torch-bf16') else torch.contiguous_format
    low = torch.autocast('cpu', torch.bfloat16, enabled=name == 'torch-bf16')
    device = torch.device(re.sub('cuda([0-9]+)', r'cuda:\1', device))

    class Transformer(torch.nn.Module):
        """Table 1 of arXiv:1610.07629, of the arrays that the project writes."""

        def __init__(self, path, one_style):
            super().__init__()
            with numpy.load(path) as f:
                arrays = [f[f'arr_{i}'] for i in range(len(f.files) - 1)]
            self.blocks, self.one_style = len(arrays) // 3, one_style
            for i in range(self.blocks):
                W, beta, gamma = [torch.from_numpy(numpy.array(a)) for a in arrays[3 * i : 3 * i + 3]]
                # Lasagne convolves, PyTorch correlates.
                self.register_parameter(f'W{i}', torch.nn.Parameter(W.flip(2, 3).contiguous()))
                for key, value in (('gamma', gamma), ('beta', beta)):
                    self.register_parameter(f'{key}{i}', torch.nn.Parameter(value[0] if one_style else value))

        def block(self, i, x, style, stride=1):
            W, gamma, beta = [getattr(self, f'{key}{i}') for key in ('W', 'gamma', 'beta')]
            p = W.shape[2] // 2
            x = F.conv2d(F.pad(x, (p, p, p, p), mode='reflect'), W, stride=stride)
            if self.one_style:
                return F.instance_norm(x, weight=gamma, bias=beta, eps=1e-5)
            return F.instance_norm(x, eps=1e-5) * (style @ gamma)[:, :, None, None] + (style @ beta)[:, :, None, None]

        def forward(self, x, style=None):
            x = F.relu(self.block(0, x, style))
            x = F.relu(self.block(1, x, style, 2))
            x = F.relu(self.block(2, x, style, 2))
            for i in range(3, self.blocks - 3, 2):
                x = x + self.block(i + 1, F.relu(self.block(i, x, style)), style)
            for i in (self.blocks - 3, self.blocks - 2):
                x = F.relu(self.block(i, F.interpolate(x, scale_factor=2, mode='nearest'), style))
            return torch.sigmoid(self.block(self.blocks - 1, x, style))

    def stylize(network, image):
        model, x = Transformer(network, True).eval(), torch.from_numpy(image)
        if name in ('torch', 'torch-channels-last', 'torch-bf16', 'compile'):
            model.to(device, memory_format=layout)
            run = torch.compile(model) if name == 'compile' else model

            def call():
                with torch.inference_mode(), low:
                    return run(x.to(device, memory_format=layout)).float().cpu().numpy()

            return call
        path = os.path.join(tempfile.mkdtemp(), 'network.onnx')
        torch.onnx.export(model, (x,), path, opset_version=17, dynamo=False)
        if name == 'onnxruntime':
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = THREADS
            session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
            key = session.get_inputs()[0].name
            return lambda: session.run(None, {key: image})[0]
        import openvino

        compiled = openvino.Core().compile_model(
            path,
            'CPU',
            {
                'INFERENCE_NUM_THREADS': THREADS,
                'PERFORMANCE_HINT': 'LATENCY',
                'INFERENCE_PRECISION_HINT': 'bf16' if name == 'openvino-bf16' else 'f32',
            },
        )
        return lambda: compiled([image])[0]

    def train(network, vgg, batch):
        model, batch = Transformer(network, False).to(device, memory_format=layout), torch.from_numpy(batch)
        with numpy.load(vgg) as f:
            vgg = {key: torch.from_numpy(f[key]).to(device) for key in f.files}
        vgg = {key: w.contiguous(memory_format=layout) if w.dim() == 4 else w for key, w in vgg.items()}
        style = torch.zeros(len(batch), model.gamma0.shape[0])
        style[torch.arange(len(batch)), torch.arange(len(batch)) % 2] = 1
        style = style.to(device)
        mean = torch.tensor([103.939, 116.779, 123.68], device=device).view(1, 3, 1, 1)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)

        def features(x, last):
            x, found = x.flip(1) * 255 - mean, {}
            for key in [key[:-2] for key in vgg if key.endswith('_W') and key[:-2] <= last]:
                if key.endswith('_1') and key != 'conv1_1':
                    x = F.max_pool2d(x, 2)
                x = found[key] = F.relu(F.conv2d(x, vgg[f'{key}_W'], vgg[f'{key}_b'], padding=1))
            return found

        def step():
            x = batch.to(device, memory_format=layout)
            optimizer.zero_grad()
            with low:
                found = features(model(x, style), STYLE_LAYERS[-1])
                with torch.no_grad():
                    target = features(x, CONTENT_LAYER)[CONTENT_LAYER]
            loss = (found[CONTENT_LAYER].float() - target.float()).square().mean()
            for layer in STYLE_LAYERS:
                flat = found[layer].float().flatten(2)
                loss = loss + 1e-4 * (flat @ flat.transpose(1, 2) / flat.shape[2]).square().mean()
            loss.backward()
            optimizer.step()
            return float(loss)

        return step

    def versions():
        words = f'PyTorch {torch.__version__}'
        if device.type == 'cpu':
            return words
        return (
            f'{words}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, '
            f'{torch.cuda.get_device_name(device)}'
        )

    return stylize, train, versions


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('name')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--tf32', action='store_true')
    args = parser.parse_args()
    stylize, train, versions = (gogh if args.name in OURS else peers)(args.name, args.device, args.tf32)
    run, answers = None, os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what the libraries print goes to stderr
    for line in sys.stdin:
        command = json.loads(line)
        start = time.perf_counter()
        result = None
        if command[0] == 'stylize':
            run = stylize(command[1], numpy.load(command[2]))
        elif command[0] == 'train':
            run = train(command[1], command[2], numpy.load(command[3]))
        elif command[0] == 'memory':
            result = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        elif command[0] == 'versions':
            result = versions()
        else:
            result = run()
        seconds = time.perf_counter() - start
        if isinstance(result, numpy.ndarray):
            path = os.path.join(tempfile.gettempdir(), f'output-{os.getpid()}.npy')
            numpy.save(path, result)
            result = path
        answers.write(f'{json.dumps([seconds, result])}\n')
        answers.flush()


if __name__ == '__main__':
    main()
