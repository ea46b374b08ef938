"""Optimization of the pixels of one image: the objective, and what minimizes it (arXiv:1508.06576)."""

import numpy
import scipy.optimize

import losses
from backend import T, theano

__all__ = ['objective_function', 'mixed_targets', 'minimize_lbfgs', 'minimize_adam']


def objective_function(loss, gradient=True):
    """Compile the objective: the losses of one image and the gradient with respect to its pixels.

    Parameters
    ----------
    loss : Objective
    gradient : bool
        False for the losses alone, which take half the time.

    Returns
    -------
    callable
        Of the image, (1, 3, H, W), RGB in [0, 1], and what `losses.target_function` returns for the
        content and style images: the features of each content layer, then the Gram matrices. Returns an array of what
        `losses.loss_names` names, and the gradient of the total, (1, 3, H, W).
    """
    image = T.tensor4('image')
    contents = [T.tensor4(layer) for layer, _ in loss.content_layers]
    grams = [T.tensor3(layer) for layer, _ in loss.style_layers]
    values = [value.sum() for value in losses.perceptual_losses(loss, image, contents, grams)]
    slope = [theano.grad(values[0], image)] if gradient else []
    return theano.function([image] + contents + grams, [T.stack(values)] + slope)


def mixed_targets(loss, content, paintings, weights):
    """What `objective_function` takes beside the image: features of the photo, mixed Gram matrices of paintings.

    Parameters
    ----------
    loss : Objective
    content : array (3, H, W), RGB in [0, 1]
    paintings : list of arrays (3, H, W), RGB in [0, 1]
        Of any sizes.
    weights : list of float
        Of the paintings' Gram matrices.

    Returns
    -------
    list of numpy array
    """
    targets_of = losses.target_function(loss)
    targets = targets_of(content[numpy.newaxis].astype('float32'))[0]
    grams = [targets_of(painting[numpy.newaxis].astype('float32'))[1] for painting in paintings]
    return targets + [
        sum(numpy.float32(weight) * gram for weight, gram in zip(weights, layer)) for layer in zip(*grams)
    ]


def minimize_lbfgs(function, start, iterations, callback):
    """Minimize over images in [0, 1] by L-BFGS-B.

    The bounds are those of an image. Gatys et al. have none; arXiv:1603.08155 (section 4.1) projects
    on them as well, so that the objective is that of an image which can be shown.

    Parameters
    ----------
    function : callable
        Of an image (1, 3, H, W); returns its losses, the total first, and the gradient of the total.
    start : array (1, 3, H, W)
    iterations : int
    callback : callable
        Called as ``callback(iteration, image, losses)`` after each iteration; true to stop.

    Returns
    -------
    str
        Why it stopped, if that was neither the number of iterations nor the callback; else ''.
    """

    class Stop(Exception):
        pass

    last, iteration = (start, None), 0

    def evaluate(x):
        nonlocal last
        values, gradient = function(x.reshape(start.shape).astype('float32'))
        last = x.copy(), values
        return float(values[0]), gradient.ravel().astype('float64')

    def step(x):
        nonlocal iteration
        iteration += 1
        image = x.reshape(start.shape).astype('float32')
        # The point that a line search accepts is the last one that it tried.
        values = last[1] if numpy.array_equal(last[0], x) else function(image)[0]
        if callback(iteration, image, values):
            raise Stop

    try:
        _, _, info = scipy.optimize.fmin_l_bfgs_b(
            evaluate,
            start.ravel().astype('float64'),
            bounds=[(0, 1)] * start.size,
            callback=step,
            maxiter=iterations,
            maxfun=20 * iterations + 20,
            factr=0,
            pgtol=0,
        )
    except Stop:
        return ''
    return '' if iteration >= iterations else str(info['task'])


def minimize_adam(function, start, iterations, callback, learning_rate):
    """Minimize over images in [0, 1] by Adam (arXiv:1412.6980), clipping after each step.

    See `minimize_lbfgs`. The losses that the callback is given with iteration k are those of the
    image after k steps.
    """
    image = start.astype('float32')
    first, second = numpy.zeros_like(image), numpy.zeros_like(image)
    values, gradient = function(image)
    for iteration in range(1, iterations + 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = learning_rate * (1 - 0.999**iteration) ** 0.5 / (1 - 0.9**iteration)
        image = numpy.clip(image - rate * first / (numpy.sqrt(second) + 1e-8), 0, 1).astype('float32')
        values, gradient = function(image)
        if callback(iteration, image, values):
            break
    return ''
