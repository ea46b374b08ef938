"""A short, seeded run of tests/fuzz.py: no parser may do anything with a damaged file but read it or refuse it."""
import pytest

import fuzz

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
