"""Facts of utils.py: errors, limits of memory, progress."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from support.processes import python

import utils


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# ---------------------------------------------------------------------------------------------------- errors


def test_a_users_error_is_one_line_and_status_1(capsys):
    def main():
        raise utils.UserError('cin.npz: two\nlines')

    with pytest.raises(SystemExit) as exit:
        utils.run_script(main)
    assert exit.value.code == 1
    assert capsys.readouterr().err == 'error: cin.npz: two lines\n'


def test_interrupts_and_success_have_their_statuses(capsys):
    def interrupted():
        raise KeyboardInterrupt

    for main, status in ((interrupted, 130), (lambda: None, None), (lambda: 3, 3)):
        with pytest.raises(SystemExit) as exit:
            utils.run_script(main)
        assert exit.value.code == status
    assert capsys.readouterr().err == '\ninterrupted\n'


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        utils.run_script(lambda: 1 / 0)


def test_a_closed_pipe_is_quiet():
    code = 'import files, utils\ndef main():\n    for i in range(10**6): print(i)\nutils.run_script(main)'
    command = f'{sys.executable} -c "{code}" | head -n 1'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True)
    assert done.stdout == b'0\n'
    assert done.stderr == b''


def test_limits_of_the_environment_are_checked(monkeypatch):
    monkeypatch.setenv('GOGH_TEST', '12')
    assert utils.limit('GOGH_TEST', 5) == 12
    monkeypatch.setenv('GOGH_TEST', '')
    assert utils.limit('GOGH_TEST', 5) == 5
    for text in ('0', '-3', 'many', '1e9', '9' * 40):
        monkeypatch.setenv('GOGH_TEST', text)
        with pytest.raises(utils.UserError, match='GOGH_TEST'):
            utils.limit('GOGH_TEST', 5)


GB = 10**9


def system(root, membership, groups):
    """A folder that looks like that of a machine with 64 GB, of which 8 GB are free."""
    files = {
        'proc/meminfo': 'MemTotal:  64000000 kB\nMemAvailable:  7812500 kB\n',
        'proc/self/status': 'VmSize: 1 kB\n',
        'proc/self/cgroup': membership,
    }
    for folder, (names, values) in groups.items():
        files.update({f'sys/fs/cgroup/{folder}/{name}': f'{value}\n' for name, value in zip(names, values)})
    for name, text in files.items():
        path = os.path.join(str(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(text)
    return str(root)


V2 = 'memory.max', 'memory.current', 'memory.stat'
V1 = 'memory.limit_in_bytes', 'memory.usage_in_bytes', 'memory.stat'
STAT = f'anon {GB}\ninactive_file {GB // 2}\nactive_file 7'
STAT_1 = f'inactive_file 7\ntotal_inactive_file {GB // 4}'


@pytest.mark.parametrize(
    'membership, groups, left',
    [
        ('', {}, 8 * GB),
        ('0::/a/b\n', {'a/b': (V2, (3 * GB, GB, STAT))}, 2.5 * GB),
        ('0::/a/b\n', {'a/b': (V2, ('max', GB, STAT)), 'a': (V2, (4 * GB, 3 * GB, ''))}, GB),
        ('0::/a/b\n', {'a/b': (V2, (2 * GB, GB, '')), 'a': (V2, (4 * GB, GB, ''))}, GB),
        ('0::/a\n', {'a': (V2, (GB, 2 * GB, STAT))}, 0),
        ('0::/a\n', {'a': (V2, (40 * GB, 2 * GB, STAT))}, 8 * GB),
        # a container that sees its own group as the root, while its path is the host's
        ('0::/docker/123\n', {'.': (V2, (2 * GB, GB, STAT))}, 1.5 * GB),
        ('0::/../../x\n', {'.': (V2, (2 * GB, GB, STAT))}, 1.5 * GB),
        (
            '5:cpu:/\n4:cpuset,memory:/a\n0::/\n',
            {'memory/a': (V1, (2 * GB, GB, STAT_1)), 'memory': (V1, (2**63 - 4096, GB, STAT_1))},
            1.25 * GB,
        ),
    ],
)
def test_the_memory_of_a_container_is_what_its_limits_leave(tmp_path, monkeypatch, membership, groups, left):
    monkeypatch.delenv('GOGH_MAX_MEMORY', raising=False)
    root = system(tmp_path, membership, groups)
    assert utils.available_memory(root) == left
    monkeypatch.setenv('GOGH_MAX_MEMORY', '12345')
    assert utils.available_memory(root) == 12345


def test_available_memory_without_a_proc_is_unlimited(tmp_path, monkeypatch):
    monkeypatch.delenv('GOGH_MAX_MEMORY', raising=False)
    assert utils.available_memory(str(tmp_path)) == float('inf')
    assert 0 < utils.available_memory() < float('inf')


# -------------------------------------------------------------------------------------------------- progress

LOOP = (
    'import utils, time\n'
    "bar = utils.progress(range(2000), desc='train')\n"
    'for i in bar:\n'
    '    bar.set_postfix(loss=i)\n'
    '    if i % 100 == 0: time.sleep(0.02)\n'
)


def test_a_log_gets_few_plain_lines():
    done = python(LOOP)
    lines = done.stderr.split('\n')
    assert len(lines) <= 4 and '\r' not in done.stderr
    assert '2000/2000' in lines[-2] and 'loss=1999' in lines[-2] and lines[-1] == ''


def test_a_terminal_gets_a_bar_that_is_redrawn():
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    child = subprocess.Popen([sys.executable, '-c', LOOP], cwd=ROOT, stderr=follower, stdin=follower)
    os.close(follower)
    text = b''
    try:
        while True:
            block = os.read(leader, 1 << 16)
            if not block:
                break
            text += block
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(leader)
    assert child.wait() == 0
    assert text.count(b'\r') > 3 and b'100%' in text


def test_a_bar_counts_an_iterable():
    assert list(utils.progress([3, 1, 2])) == [3, 1, 2]
