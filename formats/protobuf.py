"""Protocol buffers, read field by field: ONNX files and checkpoints of TensorFlow consist of them."""

__all__ = ['varint', 'fields', 'messages', 'integers', 'signed', 'text']

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def varint(data, at):
    """A number of variable length at a place in bytes, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError('it is cut off or damaged')


def fields(data):
    """The fields of a message: pairs of number and value, which is an int or a view of bytes.

    Parameters
    ----------
    data : memoryview
        The values are views of it: sizes that it claims take no memory.

    Raises
    ------
    ValueError
        If it is cut off, damaged or none.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = varint(data, at)
        elif kind in (FIXED64, FIXED32, LENGTH):
            size = 8 if kind == FIXED64 else 4
            if kind == LENGTH:
                size, at = varint(data, at)
            if size > len(data) - at:
                raise ValueError('it is cut off or damaged')
            value, at = data[at : at + size], at + size
        else:
            raise ValueError('it is no file of this format')
        yield number, value


def messages(data, *numbers):
    """The fields of these numbers that are messages, bytes or text."""
    return [(number, value) for number, value in fields(data) if number in numbers and not isinstance(value, int)]


def integers(value):
    """The integers in a field, which is one or, packed, several."""
    if isinstance(value, int):
        return [value]
    values, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        values.append(number)
    return values


def signed(value):
    """A number that was written as if it were an unsigned one of 64 bits."""
    return value - 2**64 if value >= 2**63 else value


def text(data):
    """The text in a field."""
    return bytes(data[: 10**6]).decode('utf-8', 'replace')
