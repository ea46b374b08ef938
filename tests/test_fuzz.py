"""A short, seeded run of tests/fuzz.py: no parser may do anything with a damaged file but read it or refuse it."""

import json

import pytest
from hypothesis import given, settings, strategies as st

import fuzz
import utils

pytestmark = pytest.mark.filterwarnings('ignore::UserWarning:PIL', 'ignore::PIL.Image.DecompressionBombWarning')


@pytest.mark.parametrize('name', sorted(fuzz.TARGETS))
def test_damaged_files_are_read_or_refused(name):
    accepted, finding = fuzz.run_random(name, runs=400, seed=0)
    assert finding is None
    assert 0 < accepted < 400, 'some inputs are good and some are not'


def test_a_finding_is_found(monkeypatch):
    def feed(data):
        raise KeyError('a mistake')

    monkeypatch.setitem(fuzz.TARGETS, 'broken', (lambda: [b'seed'], feed))
    accepted, (data, error) = fuzz.run_random('broken', runs=10, seed=0)
    assert (accepted, data, type(error)) == (0, b'seed', KeyError)


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(['cin', 'fns', 'batch', 'zero', 'deconv', 1, 2, 4096, 10**9, 1e-5, 1.5])
)
JSON = st.recursive(
    PLAIN,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=3), values, max_size=2),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        'format',
        'network',
        'styles',
        'widths',
        'up_widths',
        'residual_blocks',
        'epsilon',
        'norm',
        'pad',
        'upsampling',
        'training',
        'image',
        '',
    ]
) | st.text(max_size=3)


@settings(max_examples=150, derandomize=True)
@given(st.dictionaries(KEYS, JSON, min_size=1, max_size=2))
def test_a_description_of_any_shape_is_read_or_refused(changes):
    meta = json.loads(fuzz.network_arrays()[1].decode())
    try:
        fuzz.feed_network(b'm' + json.dumps(dict(meta, **changes)).encode())
    except utils.UserError:
        pass
