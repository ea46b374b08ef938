"""What the tests of clusters give workers to do; a worker imports it, and so it imports little."""

import os
import signal
import time


def deadly(folder, number):
    """The square of a number; of 3 the first worker dies that is asked, and of 5 every one."""
    path = os.path.join(folder, str(number))
    if number == 5 or (number == 3 and not os.path.exists(path)):
        open(path, 'w').close()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def stopping(folder, number):
    """The square of a number; the first worker that is asked for that of 3 stops, and the processes are noted."""
    path = os.path.join(folder, str(os.getpid()))
    open(path, 'w').close()
    if number == 3 and not os.path.exists(os.path.join(folder, 'stopped')):
        os.rename(path, os.path.join(folder, 'stopped'))
        open(path, 'w').close()
        os.kill(os.getpid(), signal.SIGSTOP)
    return number**2


def slowest_first(number):
    """A number, the later the smaller it is."""
    time.sleep(0.3 / (1 + number))
    return number
