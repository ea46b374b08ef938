"""What a training does: its losses, its schedules, its validation, and the checkpoints that it is resumed from."""

import contextlib
import functools
import os
import sys

import numpy

import files
import layers
import losses
import models
import parallel
import runs
import utils
from backend import T, lasagne, theano
from data import photos
from objective import PIXELS
from scores import psnr, ssim
from updates import adam

# Of photos that are moved: pixels at most, and the standard deviation of the noise, in [0, 1].
MOST_SHIFT, NOISE = 4, 0.02


class Training:
    """A network that is being trained, with the functions and the state that this takes.

    Parameters
    ----------
    network : models.Network
    objective : Objective
    grams : list of numpy array
        For each style layer the Gram matrices of the styles that are learned, (styles, C, C); none for a network
        'upscale'.
    coefficients : list of float, optional
        For each of these styles what its style loss is multiplied by.
    only_styles : bool
        Whether only gamma and beta are learned (arXiv:1610.07629, section 3.2). Styles that are in no batch stay as
        they are: their gradient is zero, and so is every step of Adam's.
    clip_gradients : float, optional
        The norm of all gradients together that they are scaled down to.
    processes : parallel.Processes, optional
        Those that share the batches, if there are others.
    stability_weight : float
        What `losses.stability_loss`, of photos that are moved a little, is multiplied by in the total.
    seed : int
        Of how they are moved, and of how those are that a network 'upscale' has made: see `loss_expressions`.

    Attributes
    ----------
    names : list of str
        Of the losses.
    scores : list of str
        Of what `validate` returns: the losses, and of enlarged photos `psnr` and `ssim` (`scores`).
    iteration : int
        How many updates were made.
    first, last : int
        The network's numbers of the first and the last style that are learned.
    gradients : list of shared variables
        Of the total loss of a batch, by the parameters that are learned; see `gradient`.
    variables : list of shared variables
        All that changes while training: parameters, running averages of batch norm, Adam's moments and step.
    """

    def __init__(
        self,
        network,
        objective,
        grams,
        coefficients=None,
        only_styles=False,
        clip_gradients=None,
        processes=None,
        stability_weight=0.0,
        seed=0,
    ):
        self.network, self.iteration, self.seed, self.moves = network, 0, seed, stability_weight > 0
        self.names = losses.loss_names(objective) + ['stability'] * self.moves
        self.upscales = network.architecture.network == 'upscale'
        self.scores = self.names + ['psnr', 'ssim'] * self.upscales
        self._stride = pooling_stride(objective) if self.upscales else 1
        self.processes = processes or parallel.Processes()
        self.last = len(network.styles) - 1
        self.first = self.last + 1 - (len(grams[0]) if grams else 0)
        self._rate = theano.shared(numpy.float32(0), 'learning rate')
        inputs, _, values = loss_expressions(network, objective, grams, False, coefficients, stability_weight)
        params = lasagne.layers.get_all_params(network.output, trainable=True)
        if only_styles:
            params = [param for param in params if param.name in ('gamma', 'beta')]
        # Where the parameters are, be it on a GPU: between gradient and update other processes may add theirs.
        self.gradients = [theano.shared(numpy.zeros_like(param.get_value(borrow=True)), 'gradient') for param in params]
        slopes = zip(self.gradients, theano.grad(values[0], params))
        self._gradient = theano.function(inputs, values, updates=list(slopes))
        clipped = self.gradients
        if clip_gradients:
            clipped = lasagne.updates.total_norm_constraint(clipped, clip_gradients)
        updates = adam(clipped, params, self._rate, beta1=0.9, beta2=0.999)
        self._update = theano.function([], updates=updates)
        self.variables = lasagne.layers.get_all_params(network.output)
        self.variables += [variable for variable in updates if variable not in self.variables]

        @functools.lru_cache(maxsize=None)
        def validation_function():  # compiled when it is first needed, and not before the first iteration
            inputs, pastiche, values = loss_expressions(network, objective, grams, True, coefficients, stability_weight)
            return theano.function(inputs, values + [pastiche])

        self._validation_function = validation_function

    def step(self, images, styles, learning_rate):
        """Make an update, and return the losses of the batch before it.

        Parameters
        ----------
        images : float32 array (N, 3, H, W), RGB in [0, 1]
            The share of this process; for a network 'upscale' a list of small images and the images themselves.
        styles : int32 array (N,)
            Among those that are learned, from 0; nothing to a network 'upscale'.
        learning_rate : float

        Returns
        -------
        list of numpy scalars
            What `names` names, of the whole batch; they need not be finite.
        """
        values = self.gradient(images, styles)
        if self.processes.size > 1:
            gradients = [gradient.get_value(borrow=True) for gradient in self.gradients]
            values, *gradients = self.processes.average([numpy.array(values), *gradients])
            for variable, gradient in zip(self.gradients, gradients):
                variable.set_value(gradient, borrow=True)
        self.update(learning_rate)
        return list(values)

    def gradient(self, images, styles):
        """Leave the gradients of a batch in `gradients`, and return its losses; see `step`."""
        if self.upscales:
            shift = draw_shift(self._stride, [self.seed, 5, self.iteration, self.processes.rank])
            return self._gradient(*images, *[shift] * (self._stride > 1))
        return self._gradient(images, (self.first + styles).astype('int32'), *self._moved(images, self.iteration))

    def _moved(self, images, iteration):
        """What the stability loss takes besides, if it counts; a function of the iteration, for resumed runs."""
        return move(images, [self.seed, 4, iteration, self.processes.rank]) if self.moves else []

    def update(self, learning_rate):
        """Make the step of Adam's that `gradients` lead to."""
        self._rate.set_value(numpy.float32(learning_rate))
        self._update()
        self.iteration += 1

    def validate(self, images, path):
        """Losses on images in up to 8 of the styles, as {style: losses}, and a sheet of the pastiches at a path.

        Of a network 'upscale' {0: losses, PSNR and SSIM}, and a sheet as `enlarged_sheet` makes it.
        """
        if self.upscales:
            *values, enlarged = self._validation_function()(*images)
            small, *pairs = (files.to_uint8(x) for x in (images[0], enlarged, images[1]))
            border = self.network.architecture.factor
            for score in (psnr, ssim):
                values.append(numpy.mean([score(image, original, border) for image, original in zip(*pairs)]))
            files.write_image(path, enlarged_sheet(small, *pairs))
            return {0: values}
        rows, columns = [], [files.to_uint8(models.without_border(images, self.network))]
        styles = sample_styles(self.first, self.last)
        for style in styles:
            numbers = numpy.full(len(images), style, 'int32')
            results = self._validation_function()(images, numbers, *self._moved(images, 0))
            rows.append(results[:-1])
            columns.append(files.to_uint8(results[-1]))
        files.write_image(path, files.contact_sheet([list(row) for row in zip(*columns)]))
        return dict(zip(styles, rows))

    def checkpoint(self, path, settings):
        """Write what `resume` needs to carry on exactly, atomically."""
        runs.save_checkpoint(path, self.iteration, settings, self.variables)

    def resume(self, path, settings, defaults):
        """Carry on from a checkpoint; see `runs.load_checkpoint`."""
        self.iteration = runs.load_checkpoint(path, settings, defaults, self.variables)

    def agree(self):
        """Give all processes the state of the first."""
        self.iteration = self.processes.spread(self.iteration)
        for variable in self.variables if self.processes.size > 1 else ():
            variable.set_value(self.processes.spread(variable.get_value(borrow=True)))


class RunFolder:
    """The folder of a training, with what it writes there while it lasts.

    metrics.csv has the losses of each update, and at checkpoints those on the validation images; styles.csv has the
    latter for each style, and both are drawn. What is newer than the checkpoint that a run carries on from is cut off.

    Parameters
    ----------
    path : str
        If the folder vanishes, it is made again.
    names, scores : list of str
        Of the losses, and of what `Training.validate` returns.
    styles : list of str
        The names of the network's styles, which have a table of their own, if there are any.
    iteration : int
        Of the checkpoint to carry on from, or 0.
    """

    def __init__(self, path, names, scores, styles, iteration):
        self.path, self.styles, self._scores = path, styles, scores
        self.checkpoint = os.path.join(path, 'checkpoint.npz')
        self._columns = {'metrics.csv': ['iteration', 'seconds'] + names + [f'val_{name}' for name in scores]}
        if styles:
            self._columns['styles.csv'] = ['iteration', 'style_name'] + names
        self._tables = {
            name: open_metrics(self.file(name), columns, iteration) for name, columns in self._columns.items()
        }

    def file(self, *names):
        """The path of a file in the folder, which is there then if it is in a folder of its own."""
        path = os.path.join(self.path, *names)
        if len(names) > 1:
            files.make_folder(os.path.dirname(path))
        return path

    def record(self, iteration, seconds, values, validated, sync):
        """Append the losses of an update to the tables.

        Parameters
        ----------
        iteration : int
        seconds : float
            That the update took.
        values : list of float
        validated : dict
            {style: losses} of `Training.validate`; empty where there was no validation.
        sync : bool
            Whether to have the rows on the disk.
        """
        if not os.path.exists(self.file('metrics.csv')):
            print(f'warning: {self.file("metrics.csv")} is gone: {self.path} is made again', file=sys.stderr)
            files.make_folder(self.path)
            self._tables = {name: runs.open_table(self.file(name), columns) for name, columns in self._columns.items()}
        for style, of_style in validated.items() if self.styles else ():
            row = [iteration, self.styles[style]] + _numbers(of_style)
            runs.append_row(self._tables['styles.csv'], row, sync=True)
        mean = _numbers(numpy.mean(list(validated.values()), axis=0)) if validated else [''] * len(self._scores)
        runs.append_row(self._tables['metrics.csv'], [iteration, f'{seconds:.4f}'] + _numbers(values) + mean, sync=sync)

    def plot(self):
        """Draw the tables."""
        plot_losses(self.file('losses.png'), self.file('metrics.csv'))
        if self.styles:
            plot_styles(self.file('styles.png'), self.file('styles.csv'))


def _numbers(values):
    return [f'{value:.7g}' for value in values]


def move(images, seed):
    """Photos as the next frame of a clip might show them: moved by up to four pixels, with a little noise.

    Parameters
    ----------
    images : float32 array (N, 3, H, W), RGB in [0, 1]
    seed : list of int

    Returns
    -------
    moved : float32 array (N, 3, H, W)
        What comes into the photos is their reflection.
    shift : int32 array (2,)
        By how many pixels down and to the right.
    """
    generator = numpy.random.RandomState(seed)
    shift = generator.randint(-MOST_SHIFT, MOST_SHIFT + 1, 2).astype('int32')
    height, width = images.shape[2:]
    padded = numpy.pad(images, [(0, 0), (0, 0)] + [(MOST_SHIFT, MOST_SHIFT)] * 2, mode='reflect')
    top, left = MOST_SHIFT - shift
    moved = padded[:, :, top : top + height, left : left + width]
    noise = NOISE * generator.standard_normal(images.shape).astype('float32')
    return numpy.clip(moved + noise, 0, 1), shift


def pooling_stride(objective):
    """How many pixels of an image lie side by side in one of the deepest feature maps of its content layers."""
    blocks = [int(layer[len('conv')]) for layer, _ in objective.content_layers if layer != PIXELS]
    return 2 ** (max(blocks, default=1) - 1)


def draw_shift(stride, seed):
    """A number of rows and one of columns, int32 (2,), each less than `stride`."""
    return numpy.random.RandomState(seed).randint(0, stride, 2).astype('int32')


def shifted(images, shift, stride):
    """Images (N, C, H, W) without the first `shift` of their rows and columns, and `stride` less in all."""
    height, width = images.shape[2] - stride, images.shape[3] - stride
    return images[:, :, shift[0] : shift[0] + height, shift[1] : shift[1] + width]


def content_features(objective, images):
    """The features of images (N, 3, H, W), RGB in [0, 1], in each content layer."""
    names = [layer for layer, _ in objective.content_layers]
    features = models.loss_network(images, objective.networks, names, objective.pool)
    return [features[name] for name in names]


def loss_expressions(network, objective, grams, deterministic, coefficients=None, stability_weight=0.0):
    """The losses of a batch.

    Parameters
    ----------
    network : models.Network
    objective : Objective
    grams : list of numpy array
        For each style layer the Gram matrices of all styles, (styles, C, C), or of the last ones; none for a network
        'upscale'.
    deterministic : bool
        Whether batch norm uses its running averages.
    coefficients : list of float, optional
        For each style in `grams` what its style loss is multiplied by.
    stability_weight : float
        What `losses.stability_loss` is multiplied by.

    Returns
    -------
    inputs : list of variables
        The content images, (N, 3, H, W), RGB in [0, 1], and the style of each image, (N,); where stability has a
        weight, what `move` returns. For a network 'upscale' small images, and the images themselves; besides, unless
        `deterministic` or there is no pooling, how far both are `shifted`, int32 (2,), less than `pooling_stride`.
        Otherwise each pixel would have the same place in the squares that are pooled all the time, and what the
        network makes would have a grid of them.
    pastiche : 4-D tensor
    values : list of scalars
        The means of `losses.perceptual_losses` over the batch, and of the weighted stability loss, if it has a weight.
    """
    image, style = network.image.input_var, T.ivector('style')
    inputs = {network.image: image}
    if network.style:
        one_hot = T.eq(style.dimshuffle(0, 'x'), T.arange(len(network.styles)))
        inputs[network.style] = T.cast(one_hot, 'float32')
    pastiche = lasagne.layers.get_output(network.output, inputs, deterministic=deterministic)
    if network.architecture.network == 'upscale':
        content, shift = T.tensor4('content'), T.ivector('shift')
        variables, compared, stride = [image, content], [pastiche, content], pooling_stride(objective)
        if stride > 1 and not deterministic:
            variables, compared = variables + [shift], [shifted(images, shift, stride) for images in compared]
        values = losses.perceptual_losses(objective, compared[0], content_features(objective, compared[1]), [])
        return variables, pastiche, [value.mean() for value in values]
    contents = content_features(objective, models.without_border(image, network))
    first = len(network.styles) - len(grams[0])
    targets = [theano.shared(gram, 'gram')[style - first] for gram in grams]
    if coefficients is not None:
        coefficients = theano.shared(numpy.array(coefficients, 'float32'), 'coefficients')[style - first]
    values = losses.perceptual_losses(objective, pastiche, contents, targets, coefficients)
    if not stability_weight:
        return [image, style], pastiche, [value.mean() for value in values]
    moved, shift = T.tensor4('moved'), T.ivector('shift')
    of_moved = lasagne.layers.get_output(network.output, {**inputs, network.image: moved}, deterministic=deterministic)
    stability = numpy.float32(stability_weight) * losses.stability_loss(pastiche, of_moved, shift)
    values = [values[0] + stability] + values[1:] + [stability]
    return [image, style, moved, shift], pastiche, [value.mean() for value in values]


def style_schedule(num_styles, batch_size, styles_per_batch, seed, iteration):
    """The style of each image of a batch; a function of the iteration, so that a resumed run repeats it."""
    generator = numpy.random.RandomState([seed, 3, iteration])
    drawn = generator.randint(num_styles, size=styles_per_batch)
    return drawn[numpy.arange(batch_size) % styles_per_batch].astype('int32')


def learning_rate(first, iteration, decay=None, every=None):
    """Adam's step for an update; a function of how many were made before, so that a resumed run repeats it."""
    return first * (decay ** (iteration // every) if decay else 1)


def open_metrics(path, columns, iterations):
    """Open metrics.csv to append to, cut off after the iterations that the checkpoint holds."""
    rows = []
    if iterations:
        try:
            rows = [
                row
                for row in runs.read_table(path)
                if row.get('iteration', '').isdigit() and int(row['iteration']) <= iterations
            ]
        except utils.UserError as error:
            print(f'warning: {error}; it starts anew', file=sys.stderr)
    return runs.open_table(path, columns, rows)


@contextlib.contextmanager
def plot(path, label):
    """Draw over the iterations, on a logarithmic scale, and write the picture; yields the axes."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    yield axes
    axes.set_yscale('log')
    axes.set_xlabel('iteration')
    axes.set_ylabel(label)
    axes.legend()
    with files.atomic_write(path) as file:
        figure.savefig(file, format='png', dpi=100)
    pyplot.close(figure)


def plot_losses(path, metrics):
    """Draw total, content and style loss, if there is one."""
    rows = runs.read_table(metrics)
    iterations = numpy.array([int(row['iteration']) for row in rows])
    window = max(1, len(rows) // 100)
    with plot(path, f'weighted loss (mean of {window} iterations)') as axes:
        for name in [name for name in ('total', 'content', 'style') if name in rows[0]]:
            values = numpy.array([float(row[name]) for row in rows])
            smooth = numpy.convolve(values, numpy.ones(window) / window, 'valid')
            (line,) = axes.plot(iterations[window - 1 :], smooth, label=name)
            checked = [(int(row['iteration']), float(row[f'val_{name}'])) for row in rows if row[f'val_{name}']]
            if checked:
                axes.plot(*zip(*checked), 'o', color=line.get_color(), label=f'{name}, validation')


def plot_styles(path, table):
    """Draw the total validation loss of each style."""
    curves = {}
    for row in runs.read_table(table):
        curves.setdefault(row['style_name'], []).append((int(row['iteration']), float(row['total'])))
    with plot(path, 'weighted loss, validation') as axes:
        for name, points in curves.items():
            axes.plot(*zip(*points), '.-', label=name)


def sample_styles(first, last):
    """Up to 8 styles, spread over those from the first to the last."""
    return numpy.unique(numpy.linspace(first, last, min(last - first + 1, 8)).astype(int))


def stylize_samples(function, network, images, first, last, path):
    """Write a contact sheet of the user's photos (down) and their pastiches in up to 8 styles (across)."""
    names, sheet = network.styles, []
    styles = sample_styles(first, last)
    for image in images:
        shown = models.without_border(image, network)
        row = [shown]
        for style in styles:
            inputs = [image] + ([layers.style_weights(style, len(names))] if network.style else [])
            row.append(function(*inputs)[:, :, : shown.shape[2], : shown.shape[3]])
        sheet.append([files.to_uint8(cell)[0] for cell in row])
    files.write_image(path, files.contact_sheet(sheet, ['photo'] + [names[style] for style in styles]))


def enlarged_sheet(small, enlarged, originals):
    """A sheet of small images, as the bicubic filter enlarges them, as a network does, and of the images themselves.

    Parameters
    ----------
    small, enlarged, originals : sequences of uint8 arrays (H, W, 3)
        The small ones may be smaller by any factor.
    """
    rows = []
    for image, result, original in zip(small, enlarged, originals):
        rows.append([files.resize_bicubic(image, *original.shape[:2]), result, original])
    return files.contact_sheet(rows, ['bicubic', 'network', 'original'])


def enlarge_samples(function, factor, images, path):
    """Write a sheet of the user's photos, (1, 3, H, W), made small and enlarged again; see `enlarged_sheet`."""
    reduced, rows = photos.Reduction(factor), []
    for image in images:
        original = files.to_uint8(image)[0]
        height, width = (side // factor * factor for side in original.shape[:2])
        original = original[:height, :width]
        small = reduced(original)
        rows.append((small, files.to_uint8(function(files.to_float(small)))[0], original))
    files.write_image(path, enlarged_sheet(*zip(*rows)))
