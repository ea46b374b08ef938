"""Adam against Lasagne's, step by step."""

import numpy
import pytest

from backend import T, lasagne, theano
from updates import adam


def problem(generator):
    """Parameters of several shapes and a loss of them."""
    params = [theano.shared(generator.randn(*shape).astype('float32')) for shape in ((5, 3), (1,), (7, 2, 3, 3))]
    return params, sum((T.sqr(param - i) * T.exp(T.tanh(param))).sum() for i, param in enumerate(params))


def minimized(updates_of, mode, steps=20):
    """All that is updated in some steps, in the order of the updates."""
    params, loss = problem(numpy.random.RandomState(0))
    updates = updates_of(loss, params, 0.01)
    function = theano.function([], loss, updates=updates, mode=mode)
    for _ in range(steps):
        function()
    return [variable.get_value() for variable in updates], function


@pytest.mark.parametrize('backend', ['plain', 'onednn'])
def test_is_lasagnes_adam(backend):
    if backend == 'onednn':
        from backend.onednn import library, rewrites

        try:
            rewrites.register()
        except library.Unavailable as reason:
            pytest.skip(str(reason))
    mode = theano.Mode(linker='py', optimizer='fast_run')
    if backend == 'plain':
        mode = mode.excluding('onednn')
    got, function = minimized(adam, mode)
    expected, _ = minimized(lasagne.updates.adam, mode)
    assert len(got) == len(expected) == 3 * 3 + 1
    for a, b in zip(got, expected):
        assert a.dtype == b.dtype and a.shape == b.shape
        numpy.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7)
    steps = [node for node in function.maker.fgraph.apply_nodes if type(node.op).__name__ == 'AdamStep']
    assert len(steps) == (backend == 'onednn')
    for node in steps:
        assert sorted(node.op.destroy_map) == list(range(9))  # all in place


def test_what_does_not_fit_is_refused():
    param = theano.shared(numpy.zeros(3, 'float32'))
    with pytest.raises(ValueError, match='2 gradient'):
        adam([param, param], [param])
    with pytest.raises(TypeError, match='same types'):
        adam([T.cast(param, 'float64')], [param])
