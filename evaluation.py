"""What a trained network is judged by: the loss it was trained with, on photos that it has not seen."""

import collections
import dataclasses
import os
import re

import numpy

import cluster
import files
import layers
import losses
import models
import optimization
import runs
import scores
import utils
from backend import devices
from formats import vgg
from objective import POOLS, STYLE_LAYERS

# What is not given and does not stand in the network's file; content layers and a style weight of None are set to
# those of the kind of network.
DEFAULTS = dict(
    content_layers=None,
    content_weight=1.0,
    style_layers=STYLE_LAYERS,
    style_weight=None,
    tv_weight=0.0,
    normalize_losses=False,
    pool='max',
    image_size=256,
    content_size=0,
    style_size=512,
)
KINDS = dict(
    content_layers=str,
    content_weight=float,
    style_layers=str,
    style_weight=float,
    tv_weight=float,
    normalize_losses=bool,
    pool=str,
    image_size=int,
    content_size=int,
    style_size=int,
)


def settings(args, network):
    """The options of an evaluation, a dict: those that were not given are what the network says of its training.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of `KINDS`, None where they were not given.
    network : models.Network

    Raises
    ------
    utils.UserError
        If images are too small for the network, or for the loss network.
    """
    training = network.meta.get('training')
    training = runs.current_names(training) if isinstance(training, dict) else {}
    settled = {}
    for option, kind in KINDS.items():
        settled[option] = getattr(args, option)
        if settled[option] is None:
            value = training.get(option)
            # A file of a stranger's may say anything.
            good = (type(value) is kind or (kind is float and type(value) is int)) and (
                option != 'pool' or value in POOLS
            )
            settled[option] = kind(value) if good else DEFAULTS[option]
    smallest = 16 + 2 * network.architecture.lost
    if settled['image_size'] < smallest:
        raise utils.UserError(f'--image-size {settled["image_size"]}: the network needs at least {smallest} pixels')
    if settled['style_size'] < 16:
        raise utils.UserError(f'--style-size {settled["style_size"]}: the loss network needs at least 16 pixels')
    # A network whose photos had the size of its crops, or of a dataset, says nothing of their size.
    settled['content_size'] = max(settled['content_size'], settled['image_size'])
    return settled


def find_styles(paths, names):
    """Which of the network's styles each image shows: a list of pairs (number, path), in the network's order."""
    by_name = dict(zip(models.style_names(paths), paths))
    found = [(number, by_name[name]) for number, name in enumerate(names) if name in by_name]
    if not found and len(names) == len(paths) == 1:
        found = [(0, paths[0])]
    if not found:
        raise utils.UserError(
            f"none of the {len(paths)} style images has the name of one of the network's styles, "
            f'{", ".join(names[:4])} ...'
        )
    return found


def read_photos(paths, image_size, content_size=None):
    """The middles of photos, which are first resized to a shorter side of `content_size`, or else of `image_size`.

    Returns
    -------
    dict
        For the name of each photo an array (1, 3, image_size, image_size), RGB in [0, 1].
    """
    content_size = content_size or image_size
    start = (content_size - image_size) // 2
    middle = slice(start, start + image_size)
    names = utils.unique([os.path.splitext(os.path.basename(path))[0] for path in paths], 'the photo')
    return {
        name: files.to_float(files.cover(files.read_image(path), content_size, content_size)[middle, middle])
        for name, path in zip(names, paths)
    }


def stylize(function, network, photo, style):
    """The pastiche of a photo (1, 3, H, W) by a compiled network; style is a number or a blend.

    It is of the size of `models.without_border` of the photo.
    """
    inputs = [photo]
    if network.style:
        inputs.append(layers.style_weights(style, len(network.styles)))
    height, width = models.without_border(photo, network).shape[2:]
    return function(*inputs)[:, :, :height, :width]


def content_of_nothing(loss, contents):
    """The content loss of an image without any features, for a photo with these features of each content layer."""
    return numpy.mean(
        [
            weight * (1 if loss.normalize else float(numpy.square(content).mean()))
            for (_, weight), content in zip(loss.content_layers, contents)
        ]
    )


class Evaluation:
    """A network, compiled with the loss that it is judged by.

    Parameters
    ----------
    network : models.Network
    objective : Objective
    chosen : list of pairs (int, str)
        The styles to evaluate: the network's numbers of them, and the paths of their images.
    style_size : int
        Shorter side that style images are resized to.
    device : backend.devices.Device
    """

    def __init__(self, network, objective, chosen, style_size, device):
        self.network, self.objective = network, objective
        self._targets = losses.target_function(objective)
        self._pastiche = models.pastiche_function(network)
        self._losses = optimization.objective_function(objective)
        self._styles, self._style_size = dict(chosen), style_size
        self._bytes_per_pixel, self._grams = losses.image_bytes(objective, device), {}

    def look_at(self, style):
        """The Gram matrices of a style's image, which is read once."""
        if style not in self._grams:
            self._grams[style] = losses.grams_of_style(
                self._targets, self._styles[style], self._style_size, self._bytes_per_pixel
            )
        return self._grams[style]

    def measure(self, photo, style, kinds, iterations):
        """Make images of a photo in a style, and judge them.

        Parameters
        ----------
        photo : float32 array (1, 3, H, W), RGB in [0, 1]
        style : int
        kinds : list of str
            'photo': as it is; 'network': the pastiche; anything else: what L-BFGS makes of the photo.
        iterations : int
            Of L-BFGS.

        Yields
        ------
        kind : str
        image : float32 array (1, 3, h, w)
            Of the size of `models.without_border` of the photo.
        losses : list of float
            What `losses.loss_names` names, and the content loss of an image without any features.
        path : list
            The losses of each iteration of the optimization, from the photo's on; empty for the others.
        """
        whole, photo = photo, models.without_border(photo, self.network)
        contents = self._targets(photo)[0]
        targets = contents + self.look_at(style)

        def function(image):
            return self._losses(image, *targets)

        for kind in kinds:
            image, path = photo, []
            if kind == 'network':
                image = stylize(self._pastiche, self.network, whole, style)
            elif kind != 'photo':
                image, path = optimized_image(function, photo, iterations)
            yield kind, image, [*function(image)[0], content_of_nothing(self.objective, contents)], path


def optimized_image(function, photo, iterations, tick=lambda: None):
    """The image that L-BFGS makes of a photo, and the losses of each iteration, from the photo's on.

    `tick` is called after each.
    """
    image, path = photo, [function(photo)[0]]

    def record(_, latest, values):
        nonlocal image
        image = latest
        path.append(values)
        tick()

    optimization.minimize_lbfgs(function, photo, iterations, record)
    return image, path


# What the workers of a cluster make an `Evaluation` of: the network's file and its kind; the objective without the
# weights of its networks, and their files; fingerprints of all the files, so that others under their names are read
# anew; the rest as `Evaluation` takes it. All workers see the files.
Plan = collections.namedtuple('Plan', 'model network objective loss_weights fingerprints chosen style_size device')


def make_plan(model, network, objective, loss_weights, fingerprints, chosen, style_size, device):
    """The `Plan` of these, with absolute paths."""
    return Plan(
        os.path.abspath(model),
        network,
        dataclasses.replace(objective, networks=[]),
        [path if path == 'random' else os.path.abspath(path) for path in loss_weights],
        fingerprints,
        [(style, os.path.abspath(path)) for style, path in chosen],
        style_size,
        device,
    )


def measure_on(client, plan, iterations, pairs):
    """Measure on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
    plan : Plan
    iterations : int
    pairs : iterable of (photo, style, kinds)
        As `Evaluation.measure` takes them.

    Yields
    ------
    list
        Of what `Evaluation.measure` yields, for each of the pairs, in their order.

    Raises
    ------
    utils.UserError
        For what a worker cannot read, and if workers die over a pair again and again.
    """
    for _, measured in cluster.in_order(client, measure_pair, ((plan, *pair, iterations) for pair in pairs)):
        if isinstance(measured, utils.UserError):
            raise utils.UserError(f'a photo and a style: {measured}')
        yield measured


def measure_pair(plan, photo, style, kinds, iterations):
    """What `Evaluation.measure` yields, as a list, on a worker."""
    with cluster.compiled(_evaluation, plan) as judge:
        # What came over the network may lie at any address, where no compiled function takes it.
        return list(judge.measure(photo.copy(), style, kinds, iterations))


def _evaluation(plan):
    """The `Evaluation` of a plan."""
    device, network = devices.use(plan.device), models.load_network(plan.model, plan.network)
    objective = dataclasses.replace(plan.objective, networks=vgg.read_all(plan.loss_weights, warn=False))
    return Evaluation(network, objective, plan.chosen, plan.style_size, device)


class EvaluationFolder:
    """The folder of an evaluation: its tables, which grow while it lasts, and its pictures.

    Parameters
    ----------
    path : str
    kinds : list of str
        The images that are judged for each photo and style.
    names : list of str
        Of the losses.
    rows, trajectories : list of dict
        What an earlier run left in losses.csv and trajectories.csv.
    """

    def __init__(self, path, kinds, names, rows=(), trajectories=()):
        self.path, self.kinds = path, kinds
        columns = ['style_name', 'photo', 'image'] + names + [scores.CONTENT_SCALE]
        self._done = {tuple(row[column] for column in columns[:3]) for row in rows if row[columns[-1]] is not None}
        # A row that was cut off has no last column: the optimization that led to it is made again.
        kept = [row for row in trajectories if (row.get('style_name'), row.get('photo'), kinds[-1]) in self._done]
        self._losses = runs.open_table(self.file('losses.csv'), columns, rows)
        self._steps = runs.open_table(self.file('trajectories.csv'), columns[:2] + ['iteration'] + names, kept)

    def file(self, name):
        """The path of a file in the folder."""
        return os.path.join(self.path, name)

    def picture(self, style, photo, kind):
        """The path of an image of a kind."""
        return self.file(os.path.join('images', re.sub(r'[^\w.+-]', '-', f'{photo}_{style}_{kind}') + '.png'))

    def missing(self, style, photo):
        """The kinds of images that have not been judged yet."""
        return [kind for kind in self.kinds if (style, photo, kind) not in self._done]

    def record(self, style, photo, kind, image, values, path):
        """Write what `Evaluation.measure` yielded for a style and a photo, by their names."""
        for iteration, step in enumerate(path):
            row = [style, photo, iteration] + [f'{value:.7g}' for value in step]
            runs.append_row(self._steps, row, sync=iteration == len(path) - 1)
        if kind != 'photo':
            files.write_image(self.picture(style, photo, kind), files.to_uint8(image)[0])
        runs.append_row(self._losses, [style, photo, kind] + [f'{value:.7g}' for value in values], sync=True)

    def fill(self, styles, photos, measure):
        """Have measured what is missing, and record it, with a progress bar.

        Parameters
        ----------
        styles : dict
            {number: name}
        photos : dict
            {name: array}, as `read_photos` returns them.
        measure : callable
            Makes of an iterable of (photo, style, kinds) an iterator over what `Evaluation.measure` yields for each.
        """
        wanted = [(style, photo, self.missing(styles[style], photo)) for style in styles for photo in photos]
        total, missing = len(wanted) * len(self.kinds), sum(len(kinds) for *_, kinds in wanted)
        wanted = [item for item in wanted if item[-1]]
        with utils.progress(total=total, initial=total - missing, desc='evaluating', unit='image') as bar:
            results = measure((photos[photo], style, kinds) for style, photo, kinds in wanted)
            for (style, photo, _), result in zip(wanted, results):
                for kind, *judged in result:
                    self.record(styles[style], photo, kind, *judged)
                    bar.update()

    def write_grids(self, styles, photos):
        """Write a sheet of each kind of image: photos, {name: array (1, 3, H, W)}, down, and styles across."""
        for kind in self.kinds[1:]:
            grid = [
                [files.to_uint8(photo)[0]] + [files.read_image(self.picture(style, name, kind)) for style in styles]
                for name, photo in photos.items()
            ]
            path = self.file(f'grid_{kind.replace(" ", "_")}.jpg')
            files.write_image(path, files.style_sheet(grid, ['photo'] + styles))
