"""Pickles of arrays that need not be trusted."""

from __future__ import annotations

import codecs
import os
import struct
from typing import Any, BinaryIO, Callable

from files.arrays import check_size, load, make_array, make_dtype

# Instructions that are refused, and why. The rest of the protocol (0 to 5) is in `PickleMachine`.
_REFUSED = {
    b'P': 'a persistent id',
    b'\x82': 'an extension',
    b'\x83': 'an extension',
    b'\x84': 'an extension',
    b'\x81': 'an object',
    b'\x92': 'an object',
    b'o': 'an object',
    b'\x97': 'an outside buffer',
    b'\x98': 'an outside buffer',
}

# What a pickle of arrays names, by numpy's version and Python's, and the job that the machine does for each.
_GLOBALS = {
    'numpy.ndarray': 'ndarray',
    'numpy.dtype': 'dtype',
    '_codecs.encode': 'encode',
    '__builtin__.bytes': 'bytes',
    'builtins.bytes': 'bytes',
}
for _core in 'numpy.core', 'numpy._core':
    _GLOBALS.update(
        {
            f'{_core}.multiarray._reconstruct': 'reconstruct',
            f'{_core}.multiarray.scalar': 'scalar',
            f'{_core}.numeric._frombuffer': 'frombuffer',
        }
    )

_MARK = object()


def read_pickle(file: BinaryIO, max_bytes: int, max_instructions: int = 10**6) -> Any:
    """Read a pickle of numpy arrays, numbers, text and plain containers; nothing else.

    A pickle is a program for a stack machine, and Python's machine has an instruction that imports any
    function and one that calls it. A subclass of `pickle.Unpickler` can put checked stand-ins in the place of the
    first, but takes memory at the word of the file all the same: nine bytes that name place 2**27 of its memo take
    2 GB in Python 3.8 to 3.13, and a byte array is made before its bytes are there. So this is a machine of its own,
    which knows the instructions that build containers and, as descriptions to be checked, the few calls
    that a pickled array is made of. Text of Python 2 pickles is decoded as latin1.

    Parameters
    ----------
    file : binary file
        Seekable.
    max_bytes : int
        Limit for the size of the file, which also bounds the memory taken.
    max_instructions : int
        Limit for the length of the program; a file of arrays has some tens per array.

    Returns
    -------
    object
        Lists, tuples, dicts, sets, str, bytes, numbers, bool, None, numpy arrays (read-only), scalars and
        dtypes.

    Raises
    ------
    ValueError
        Naming the function or class that the pickle names, where that is not one of an array's. Nothing of it
        has been imported or run. Any of `ERRORS` for a file that is malformed.
    """
    size = file.seek(0, os.SEEK_END)
    check_size(size, max_bytes)
    file.seek(0)
    return PickleMachine(file, size, max_bytes).run(max_instructions)


class _Global:
    """An admitted name on the machine's stack."""

    def __init__(self, job):
        self.job = job


class _Pending:
    """An array or dtype between the instruction that makes it and the one that gives it its contents."""

    def __init__(self, base=None):
        self.base = base  # the dtype, to be given a byte order; None for an array
        self.value = None


class _Arguments(tuple):
    """A tuple that has names in it, so that it can only be the arguments of a call."""


class PickleMachine:
    """The stack machine of `read_pickle`; a subclass may admit further names.

    Parameters
    ----------
    file : binary file
        At the pickle's beginning.
    size : int
        Bytes that there are to read.
    max_bytes : int
        Limit for all arrays together.

    Attributes
    ----------
    names : dict
        What a pickle may name, and the job that `call` does for it.
    """

    names = _GLOBALS

    def __init__(self, file, size, max_bytes):
        self.file = file
        self.unread = size
        self.left = max_bytes
        self.stack = []
        self.memo = {}

    # Reading. No read goes past the end, so that a false length cannot take memory.

    def read(self, length):
        self.unread -= length
        if self.unread < 0:
            raise ValueError('the pickle is truncated')
        return self.file.read(length)

    def unsigned(self, width):
        return int.from_bytes(self.read(width), 'little')

    def line(self, longest=1000):
        line = self.file.readline(longest)
        self.unread -= len(line)
        if not line.endswith(b'\n'):
            raise ValueError('the pickle is truncated')
        return line[:-1]

    def number(self, width):
        if width > 1000:
            raise ValueError(f'it holds a number of {width} bytes')
        return int.from_bytes(self.read(width), 'little', signed=True)

    def quoted(self):
        text = self.line(self.unread)
        if len(text) < 2 or text[:1] not in b'\'"' or text[-1:] != text[:1]:
            raise ValueError('the pickle is malformed')
        return codecs.escape_decode(text[1:-1])[0].decode('latin1')

    def integer(self):
        text = self.line()
        return {b'00': False, b'01': True}[text] if text in (b'00', b'01') else int(text)

    # The instructions that push a value, by their codes.
    constants: dict[bytes, Callable[[], Any]] = {
        b'N': lambda: None,
        b'\x88': lambda: True,
        b'\x89': lambda: False,
        b']': list,
        b'}': dict,
        b')': tuple,
        b'\x8f': set,
    }
    literals = {
        b'I': integer,
        b'J': lambda self: self.number(4),
        b'K': lambda self: self.unsigned(1),
        b'M': lambda self: self.unsigned(2),
        b'L': lambda self: int(self.line().rstrip(b'L')),
        b'\x8a': lambda self: self.number(self.unsigned(1)),
        b'\x8b': lambda self: self.number(self.unsigned(4)),
        b'F': lambda self: float(self.line()),
        b'G': lambda self: struct.unpack('>d', self.read(8))[0],
        b'S': quoted,
        b'U': lambda self: self.read(self.unsigned(1)).decode('latin1'),
        b'T': lambda self: self.read(self.unsigned(4)).decode('latin1'),
        b'V': lambda self: self.line(self.unread).decode('raw-unicode-escape'),
        b'\x8c': lambda self: self.read(self.unsigned(1)).decode('utf-8'),
        b'X': lambda self: self.read(self.unsigned(4)).decode('utf-8'),
        b'\x8d': lambda self: self.read(self.unsigned(8)).decode('utf-8'),
        b'C': lambda self: self.read(self.unsigned(1)),
        b'B': lambda self: self.read(self.unsigned(4)),
        b'\x8e': lambda self: self.read(self.unsigned(8)),
        b'\x96': lambda self: bytearray(self.read(self.unsigned(8))),
    }

    # The stack.

    def pop(self):
        """Take a finished value from the stack."""
        return self.finished(self.stack.pop())

    def pop_mark(self):
        """Take everything above the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise ValueError('the pickle is malformed')

    def finished(self, item):
        if isinstance(item, _Pending):
            item = item.value
            if item is None:
                raise ValueError('an array has no contents')
        if item is _MARK or isinstance(item, (_Global, _Arguments)):
            raise ValueError('it holds a function or class, where only arrays and plain values are admitted')
        return item

    def push_tuple(self, items):
        named = any(isinstance(item, _Global) for item in items)
        self.stack.append(_Arguments(items) if named else tuple(self.finished(item) for item in items))

    def key(self, item):
        """A dict's key or a set's item: hashing nested tuples could exhaust the interpreter's own stack."""
        item = self.finished(item)
        if not isinstance(item, (str, bytes, int, float, type(None))):
            raise ValueError('a key of a dict is neither text nor a number')
        return item

    def update(self, pairs):
        if len(pairs) % 2 or type(self.stack[-1]) is not dict:
            raise ValueError('the pickle is malformed')
        for key, value in zip(pairs[::2], pairs[1::2]):
            self.stack[-1][self.key(key)] = self.finished(value)

    def extend(self, items):
        if type(self.stack[-1]) is not list:
            raise ValueError('the pickle is malformed')
        self.stack[-1].extend(self.finished(item) for item in items)

    def name(self, module, name):
        """Push an admitted name; refuse any other."""
        job = self.names.get(f'{module}.{name}')
        if job is None:
            raise ValueError(
                f'it names {module[:100]}.{name[:100]}, and only arrays and plain values are admitted; nothing of it '
                'was run'
            )
        self.stack.append(_Global(job))

    def persistent(self, item):
        """What a persistent id stands for."""
        raise ValueError('it holds a persistent id, where only arrays and plain values are admitted')

    # The calls that make an array.

    def call(self, job, arguments):
        if job == 'reconstruct':
            # (ndarray, (0,), b'b'): an empty array that the next instruction fills
            if len(arguments) != 3 or getattr(arguments[0], 'job', None) != 'ndarray':
                raise ValueError('it holds an array of a class that is not admitted')
            return _Pending()
        if isinstance(arguments, _Arguments):
            raise ValueError('the pickle is malformed')
        if job == 'dtype':
            return _Pending(make_dtype(self.text(arguments[0])))
        if job == 'scalar':
            dtype, data = arguments
            return make_array(self.bytes(data), dtype, ())[()]
        if job == 'frombuffer':
            data, dtype, shape, order = arguments
            return make_array(self.bytes(data), dtype, shape, order)
        if job == 'encode' and len(arguments) == 2 and arguments[1] in ('latin1', 'latin-1'):
            return self.bytes(arguments[0])
        if job == 'bytes' and arguments == ():
            return b''
        raise ValueError('the pickle is malformed')

    def build(self, item, state):
        """Give a dtype its byte order, or an array its contents."""
        if not isinstance(item, _Pending) or item.value is not None or type(state) is not tuple:
            raise ValueError('the pickle is malformed')
        if item.base is not None:
            order = self.text(state[1])
            if len(state) < 5 or order not in ('<', '>', '|', '=') or state[2:5] != (None, None, None):
                raise ValueError('it holds an array of records, not of plain numbers or text')
            item.value = item.base.newbyteorder(order)
        else:
            version, shape, dtype, fortran_order, data = state
            item.value = make_array(self.bytes(data), dtype, shape, 'F' if fortran_order else 'C')

    def text(self, value):
        if not isinstance(value, str):
            raise ValueError('the pickle is malformed')
        return value

    def bytes(self, data):
        """The contents of an array. Counted, since a short program may use one long string many times."""
        if not isinstance(data, (str, bytes, bytearray)):
            raise ValueError('the contents of an array are not bytes')
        self.left -= len(data)
        if self.left < 0:
            raise ValueError('its arrays together are too large; set GOGH_MAX_BYTES to allow more')
        return data.encode('latin1') if isinstance(data, str) else data

    def run(self, max_instructions):
        stack, memo = self.stack, self.memo
        for _ in range(max_instructions):
            code = self.read(1)
            if code in self.constants:
                stack.append(self.constants[code]())
            elif code in self.literals:
                stack.append(self.literals[code](self))
            elif code == b'(':  # MARK
                stack.append(_MARK)
            elif code == b'.':  # STOP
                return self.pop()
            elif code == b'\x80':  # PROTO
                if self.unsigned(1) > 5:
                    raise ValueError('it is a pickle of an unknown protocol')
            elif code == b'\x95':  # FRAME
                self.unsigned(8)
            elif code == b'0':  # POP
                stack.pop()
            elif code == b'1':  # POP_MARK
                self.pop_mark()
            elif code == b'2':  # DUP
                stack.append(stack[-1])
            elif code in b'pqr\x94':  # PUT, BINPUT, LONG_BINPUT, MEMOIZE
                memo[
                    int(self.line())
                    if code == b'p'
                    else self.unsigned(1)
                    if code == b'q'
                    else self.unsigned(4)
                    if code == b'r'
                    else len(memo)
                ] = stack[-1]
            elif code in b'ghj':  # GET, BINGET, LONG_BINGET
                stack.append(
                    memo[int(self.line()) if code == b'g' else self.unsigned(1) if code == b'h' else self.unsigned(4)]
                )
            elif code == b't':  # TUPLE
                self.push_tuple(self.pop_mark())
            elif code in b'\x85\x86\x87':  # TUPLE1, TUPLE2, TUPLE3
                count = code[0] - 0x84
                self.push_tuple([stack.pop() for _ in range(count)][::-1])
            elif code in b'ld':  # LIST, DICT
                items = self.pop_mark()
                stack.append([] if code == b'l' else {})
                (self.extend if code == b'l' else self.update)(items)
            elif code == b'a':  # APPEND
                item = stack.pop()
                self.extend([item])
            elif code == b'e':  # APPENDS
                self.extend(self.pop_mark())
            elif code == b's':  # SETITEM
                value, key = stack.pop(), stack.pop()
                self.update([key, value])
            elif code == b'u':  # SETITEMS
                self.update(self.pop_mark())
            elif code == b'\x90':  # ADDITEMS
                items = self.pop_mark()
                if type(stack[-1]) is not set:
                    raise ValueError('the pickle is malformed')
                stack[-1].update(self.key(item) for item in items)
            elif code == b'\x91':  # FROZENSET
                stack.append(frozenset(self.key(item) for item in self.pop_mark()))
            elif code in b'ci':  # GLOBAL, INST
                self.name(self.line().decode('utf-8'), self.line().decode('utf-8'))
                if code == b'i':
                    raise ValueError('it holds an object, where only arrays and plain values are admitted')
            elif code == b'\x93':  # STACK_GLOBAL
                name, module = self.text(self.pop()), self.text(self.pop())
                self.name(module, name)
            elif code == b'R':  # REDUCE
                arguments, function = stack.pop(), stack.pop()
                if not isinstance(function, _Global) or not isinstance(arguments, tuple):
                    raise ValueError('the pickle is malformed')
                stack.append(self.call(function.job, arguments))
            elif code == b'b':  # BUILD
                state = self.pop()
                self.build(stack[-1], state)
            elif code == b'Q':  # BINPERSID
                stack.append(self.persistent(stack.pop()))
            elif code in _REFUSED:
                raise ValueError(f'it holds {_REFUSED[code]}, where only arrays and plain values are admitted')
            else:
                raise ValueError('it is not a pickle')
        raise ValueError(f'it has more than {max_instructions} instructions')


def load_pickle(path: str, max_bytes: int | None = None) -> Any:
    """Read a pickle of arrays and plain containers that need not be trusted (`read_pickle`).

    Such as the Lasagne model zoo's vgg16.pkl. Nothing that the file names is imported or run; Python 2's text
    is decoded as latin1.

    Parameters
    ----------
    path : str
    max_bytes : int, optional
        Limit for the size of the file, as for `load_npz`.

    Returns
    -------
    object
        What was pickled; its arrays are read-only.

    Raises
    ------
    UserError
        For a file that is missing, damaged, too large, or holds anything else; one line, naming the file and
        the function or class that it names.
    """
    return load(path, max_bytes, read_pickle, 'pickle of arrays')
