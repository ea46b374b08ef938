"""Networks of a few feature maps, which compile and compute at once."""

import models
from architecture import Architecture

# Of styles, one of which is a number and one of which has a comma.
NAMES = ['waves', '1', 'sun, rising', 'sun']


def transformer(
    network='cin', styles=('a',), widths=(3, 4, 5), up_widths=(4, 3), residual_blocks=1, meta=None, **settings
):
    """A transformer network, by default the smallest with everything in it."""
    architecture = Architecture(network, widths, up_widths, residual_blocks, **settings)
    return models.transformer_network(architecture, list(styles), meta)
