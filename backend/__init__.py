"""Theano, set up: what computes, and how.

``from backend import T, lasagne, theano`` configures Theano and imports it, which takes a second; what does not
compute, such as a script that only prints its help, imports the modules of this package without that.

`theano_setup` configures Theano, `compat` lends it what newer Pythons lack, and `cache` keeps what is compiled;
`formulas` states the operations, which `onednn` and `gpu` replace by faster ones; `devices` chooses among these.
"""

__all__ = ['theano', 'T', 'lasagne']


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from backend import theano_setup

    return getattr(theano_setup, name)
