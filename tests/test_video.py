"""Clips: what is read and written, sound, times, interruptions; pastiches that do not flicker; what is refused."""

import fractions
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import numpy
import pytest
from PIL import ImageGrab

av = pytest.importorskip('av', reason='PyAV is not installed: python install.py video')
cv2 = pytest.importorskip('cv2', reason='OpenCV is not installed: python install.py video')

import files
import live
import mixtures
import pieces
import steadiness
import utils
import videos
from conftest import ROOT
from support import clips, tiny


def negatives(frames):
    """In the place of `pastiches.Stylist.stylize_frames`: the negatives of frames."""
    return (255 - frame for frame, _ in frames)


def negative(source, output, settings=None, stop=None, keep=False, overwrite=False, share=0.0, **options):
    """Make a clip of negatives; stop before so many frames. Returns how many were there before."""
    clip = videos.open_input(str(source), **options)
    with pieces.open_output(str(output), clip, settings or {}, overwrite) as out:
        first = out.done
        frames = steadiness.pastiches(clip, negatives, [(0, {0: 1.0})], share, out.done, out.state)
        for frame, state in frames:
            if stop is not None and out.done == stop:
                frames.close()
                if keep:
                    out.keep()
                return first
            out.write(frame, state)
        out.finish()
    return first


@pytest.fixture
def drawn(tmp_path):
    path = tmp_path / 'drawn.mp4'
    clips.write(path, [clips.drawing(i) for i in range(12)], sound='aac')
    return path


def difference(a, b):
    return numpy.abs(a.astype(float) - b).mean()


def test_a_clip_keeps_its_frames_its_times_and_the_packets_of_its_sound(place, run):
    clips.write('clip.mp4', [clips.drawing(i) for i in range(12)], sound='aac')
    command = ['video.py', 'clip.mp4', '--model', 'cin.npz', '--output', 'out.mp4', '--strength', '0.25']
    files.write_image('mask.png', numpy.full((4, 4, 3), 128, 'uint8'))
    done = run(*command, '--style', 'waves', '--style-map', '1=mask.png', cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ['out.mp4']
    (images, times), (frames, frame_times) = clips.read('out.mp4'), clips.read('clip.mp4')
    assert times == frame_times and len(times) == 12
    assert max(difference(a, b) for a, b in zip(images, frames)) < 0.25 * 128  # at a quarter of the strength
    assert clips.sound_packets('out.mp4') == clips.sound_packets('clip.mp4') != []
    assert sorted(os.listdir('.')) == ['cin.npz', 'clip.mp4', 'mask.png', 'out.mp4', 'photo.png']


@pytest.mark.parametrize('extension', ['mp4', 'mov', 'mkv', 'webm'])
def test_what_is_written_looks_as_it_was_meant(drawn, tmp_path, extension):
    out = tmp_path / f'out.{extension}'
    negative(drawn, out)
    before, after = clips.read(drawn)[0], clips.read(out)[0]
    assert len(before) == len(after)
    assert max(difference(255 - a, b) for a, b in zip(before, after)) < 8


def test_a_gif_has_all_frames_in_hundredths_of_a_second(drawn, tmp_path):
    negative(drawn, tmp_path / 'out.gif')
    images, times = clips.read(tmp_path / 'out.gif')
    assert times == [pytest.approx(0.04 * i) for i in range(12)]
    assert max(difference(255 - a, b) for a, b in zip(clips.read(drawn)[0], images)) < 10


def test_times_that_vary_are_kept(tmp_path):
    shown = [0, 40, 53, 200, 201, 460, 500]
    clips.write(tmp_path / 'clip.mkv', [clips.drawing(i) for i in range(7)], times=shown)
    for name in ('out.mp4', 'out.webm', 'out.mkv'):
        negative(tmp_path / 'clip.mkv', tmp_path / name)
        assert [float(t) for t in clips.read(tmp_path / name)[1]] == [pytest.approx(t / 1000) for t in shown]


def test_sound_that_a_container_cannot_have_is_encoded_anew(drawn, tmp_path):
    negative(drawn, tmp_path / 'out.webm')
    with av.open(str(tmp_path / 'out.webm')) as container:
        assert container.streams.audio[0].codec_context.name in ('opus', 'libopus')
        samples = numpy.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(samples) / 48000 == pytest.approx(0.48, abs=0.06)
    # The tone: one in 20 radians a sample.
    spectrum = numpy.abs(numpy.fft.rfft(samples[4800:14400]))
    assert spectrum.argmax() == pytest.approx(9600 / (20 * 2 * numpy.pi), abs=1.5)


def test_opus_is_copied_into_webm(tmp_path):
    clips.write(tmp_path / 'clip.mkv', [clips.drawing(i) for i in range(6)], sound='libopus')
    negative(tmp_path / 'clip.mkv', tmp_path / 'out.webm')
    assert clips.sound_packets(tmp_path / 'out.webm') == clips.sound_packets(tmp_path / 'clip.mkv') != []


@pytest.mark.parametrize('degrees, quarters', [(90, -1), (180, 2), (270, 1)])
def test_a_clip_that_is_to_be_turned_is_upright(drawn, degrees, quarters):
    stored = clips.read(drawn)[0][3]
    clips.turn(drawn, degrees)
    frames = list(videos.Clip(str(drawn)))
    assert difference(frames[3].image, numpy.rot90(stored, quarters)) < 3


def test_pixels_that_are_not_square_become_square(tmp_path):
    clips.write(tmp_path / 'wide.mp4', [clips.drawing(i) for i in range(3)], aspect='3/2')
    clips.write(tmp_path / 'high.mp4', [clips.drawing(i) for i in range(3)], aspect='1/2')
    assert next(iter(videos.Clip(str(tmp_path / 'wide.mp4')))).image.shape == (32, 72, 3)
    assert next(iter(videos.Clip(str(tmp_path / 'high.mp4')))).image.shape == (64, 48, 3)
    assert next(iter(videos.Clip(str(tmp_path / 'wide.mp4'), size=16))).image.shape == (16, 36, 3)


@pytest.mark.parametrize('number, name', [(1, 'BT.709'), (5, 'BT.601')])
def test_colours_are_those_of_the_standard_that_a_clip_names(tmp_path, number, name):
    red, green, blue = 200, 60, 120
    kr, kb = (0.2126, 0.0722) if number == 1 else (0.299, 0.114)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    values = [
        16 + 219 * luma / 255,
        128 + 112 * (blue - luma) / (255 * (1 - kb)),
        128 + 112 * (red - luma) / (255 * (1 - kr)),
    ]
    with av.open(str(tmp_path / 'clip.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'crf': '1'})
        stream.width, stream.height, stream.pix_fmt = 48, 32, 'yuv420p'
        stream.codec_context.colorspace = number
        planes = [numpy.full((32, 48), values[0])] + [numpy.full((8, 48), v) for v in values[1:]]
        frame = av.VideoFrame.from_ndarray(numpy.concatenate(planes).round().astype('uint8'), format='yuv420p')
        frame.colorspace = number
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    image = next(iter(videos.Clip(str(tmp_path / 'clip.mp4')))).image
    assert numpy.abs(image[16, 24].astype(int) - (red, green, blue)).max() <= 3, name


def test_a_title_in_another_encoding_than_utf_8_does_no_harm(drawn):
    whole = drawn.read_bytes()
    assert b'Lavf' in whole  # the name of the program that wrote the clip
    drawn.write_bytes(whole.replace(b'Lavf', b'L\xe9\xfff'))
    assert len(list(videos.Clip(str(drawn)))) == 12


def test_start_and_duration_cut_the_pictures_and_the_sound(drawn, tmp_path):
    negative(drawn, tmp_path / 'out.mp4', start=0.16, duration=0.2)
    images, times = clips.read(tmp_path / 'out.mp4')
    assert times == clips.read(drawn)[1][:5]
    assert difference(images[0], 255 - clips.read(drawn)[0][4]) < 8
    all_packets, packets = clips.sound_packets(drawn), clips.sound_packets(tmp_path / 'out.mp4')
    first = all_packets.index(packets[0])
    assert all_packets[first : first + len(packets)] == packets
    assert 8 <= len(packets) <= 10  # of 1024 samples each


def test_frames_in_a_folder_become_frames_in_a_folder(drawn, tmp_path):
    negative(drawn, tmp_path / 'frames')
    assert sorted(os.listdir(tmp_path / 'frames')) == [f'{i:06d}.png' for i in range(1, 13)] + ['settings.json']
    negative(tmp_path / 'frames', tmp_path / 'again', rate=50)
    negative(tmp_path / 'again', tmp_path / 'out.mp4', rate=50)
    images, times = clips.read(tmp_path / 'out.mp4')
    assert times == [fractions.Fraction(i, 50) for i in range(12)]
    assert max(difference(255 - a, b) for a, b in zip(clips.read(drawn)[0], images)) < 8


@pytest.mark.parametrize('output', ['out.mp4', 'out'])
def test_an_interrupted_run_carries_on_to_the_same_frames(drawn, tmp_path, monkeypatch, output):
    monkeypatch.setattr(pieces, 'PIECE', 4)
    negative(drawn, tmp_path / f'whole-{output}', share=0.6)
    assert negative(drawn, tmp_path / output, share=0.6, stop=7) == 0
    assert not (tmp_path / 'out.mp4').exists()
    # What was not kept is lost: of a clip, what came after its last piece.
    assert negative(drawn, tmp_path / output, share=0.6, stop=8, keep=True) == (4 if output == 'out.mp4' else 7)
    assert negative(drawn, tmp_path / output, share=0.6) == 8
    if output == 'out':
        for path in (tmp_path / output).iterdir():
            assert path.read_bytes() == (tmp_path / f'whole-{output}' / path.name).read_bytes()
    else:
        assert (tmp_path / output).read_bytes() == (tmp_path / f'whole-{output}').read_bytes()
        assert not (tmp_path / f'{output}.pieces').exists()


def test_an_interrupted_run_is_not_carried_on_with_other_settings(drawn, tmp_path):
    negative(drawn, tmp_path / 'out.mp4', {'style': 1}, stop=7)
    with pytest.raises(utils.UserError, match=r'out\.mp4\.pieces was made with other settings \(style\)'):
        negative(drawn, tmp_path / 'out.mp4', {'style': 2})
    negative(drawn, tmp_path / 'out.mp4', {'style': 2}, overwrite=True)
    assert len(clips.read(tmp_path / 'out.mp4')[0]) == 12


@pytest.mark.slow
def test_a_run_that_was_killed_carries_on(place):
    clips.write('clip.mp4', [clips.drawing(i) for i in range(150)], sound='aac')
    command = [sys.executable, os.path.join(ROOT, 'video.py'), 'clip.mp4', '--model', 'cin.npz', '--style', 'waves']
    killed = subprocess.Popen(command + ['--output', 'out.mp4'], stderr=subprocess.DEVNULL)
    while not list(pathlib.Path().glob('out.mp4.pieces/*.nut')):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    if pathlib.Path('out.mp4').exists():
        pytest.skip('it was done before it could be killed')
    kept = {path.name: path.stat().st_mtime_ns for path in pathlib.Path().glob('out.mp4.pieces/*.nut')}
    assert '00000000-00000064.nut' in kept
    # From here on in the middle of a piece, by Ctrl-C.
    stopped = subprocess.Popen(command + ['--output', 'out.mp4'], stderr=subprocess.PIPE, universal_newlines=True)
    subprocess.run(command + ['--output', 'whole.mp4'], check=True, stderr=subprocess.DEVNULL)
    assert stopped.wait() == 0, stopped.stderr.read()
    stopped.stderr.close()
    (images, times), (whole, _) = clips.read('out.mp4'), clips.read('whole.mp4')
    assert times == clips.read('clip.mp4')[1]
    assert all((a == b).all() for a, b in zip(images, whole)) and len(images) == len(whole) == 150
    assert clips.sound_packets('out.mp4') == clips.sound_packets('clip.mp4')
    assert not os.path.exists('out.mp4.pieces')


def test_what_is_no_clip_is_refused_in_one_line(drawn, tmp_path):
    (tmp_path / 'text.mp4').write_bytes(b'not a clip at all' * 100)
    (tmp_path / 'noise.mkv').write_bytes(numpy.random.RandomState(0).bytes(5000))
    (tmp_path / 'empty.mp4').write_bytes(b'')
    with av.open(str(tmp_path / 'sound.mp4'), 'w') as container:
        stream = container.add_stream('aac', rate=48000)
        frame = av.AudioFrame.from_ndarray(numpy.zeros((1, 1024), 'float32'), 'fltp', 'mono')
        frame.sample_rate = 48000
        for part in (frame, None):
            container.mux(stream.encode(part))
    (tmp_path / 'cut.mp4').write_bytes(drawn.read_bytes().partition(b'moov')[0])  # the index, which is at the end
    os.mkfifo(tmp_path / 'pipe.mp4')
    for name, complaint in [
        ('text.mp4', 'not a clip'),
        ('noise.mkv', 'not a clip'),
        ('empty.mp4', 'the file is empty'),
        ('sound.mp4', 'no video'),
        ('cut.mp4', 'not a clip'),
        ('pipe.mp4', 'a pipe'),
        ('nothing.mp4', 'No such file'),
    ]:
        with pytest.raises(utils.UserError, match=rf'{name}: .*{complaint}'):
            negative(tmp_path / name, tmp_path / 'out.mp4')
    with pytest.raises(utils.UserError, match='no frame after --start'):
        negative(drawn, tmp_path / 'out.mp4', start=5)
    assert not (tmp_path / 'out.mp4').exists()


def test_a_clip_that_breaks_off_gives_the_frames_that_it_has(tmp_path):
    clips.write(tmp_path / 'whole.mkv', [clips.drawing(i) for i in range(60)], sound='aac')
    data = (tmp_path / 'whole.mkv').read_bytes()
    (tmp_path / 'half.mkv').write_bytes(data[: len(data) // 2])
    negative(tmp_path / 'half.mkv', tmp_path / 'out.mp4')
    assert 10 < len(clips.read(tmp_path / 'out.mp4')[0]) < 50


def test_damage_in_the_middle_is_left_out_and_counted(tmp_path):
    clips.write(tmp_path / 'clip.mkv', [numpy.roll(clips.drawing(i), 5 * i, 1) for i in range(60)])
    data = bytearray((tmp_path / 'clip.mkv').read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1000] = numpy.random.RandomState(0).bytes(1000)
    (tmp_path / 'clip.mkv').write_bytes(data)
    negative(tmp_path / 'clip.mkv', tmp_path / 'out.mp4')
    assert 10 < len(clips.read(tmp_path / 'out.mp4')[0]) <= 60


def test_a_playlist_opens_no_other_file(drawn, tmp_path):
    playlist = '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST\n'
    (tmp_path / 'list.m3u8').write_text(playlist % drawn)
    (tmp_path / 'list.txt').write_text(f"ffconcat version 1.0\nfile '{drawn.name}'\n")
    for name in ('list.m3u8', 'list.txt'):
        with pytest.raises(utils.UserError, match=rf'{name}: '):
            negative(tmp_path / name, tmp_path / 'out.mp4')


def test_frames_of_too_many_pixels_are_refused(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv('GOGH_MAX_PIXELS', '1000')
    with pytest.raises(utils.UserError, match='48 x 32 pixels are more than the 1000'):
        negative(drawn, tmp_path / 'out.mp4')


def test_odd_sizes_lose_a_row_or_a_column(tmp_path):
    (tmp_path / 'frames').mkdir()
    for i in range(3):
        files.write_image(str(tmp_path / 'frames' / f'{i}.png'), clips.drawing(i, 31, 45))
    negative(tmp_path / 'frames', tmp_path / 'out.mp4')
    images = clips.read(tmp_path / 'out.mp4')[0]
    assert images[0].shape == (30, 44, 3)
    assert difference(images[1], 255 - clips.drawing(1, 31, 45)[:30, :44]) < 8


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_computed(drawn, tmp_path):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'other.mp4').write_text('something else')
    for output, complaint in [
        (tmp_path / 'file' / 'out.mp4', 'cannot make this folder'),
        (tmp_path / 'out.xyz', 'the name should end in .mp4'),
        (tmp_path / 'other.mp4', 'not what this command wrote before'),
        (drawn, 'would overwrite the input'),
        (tmp_path, 'something else in this folder'),
    ]:
        with pytest.raises(utils.UserError, match=complaint):
            negative(drawn, output)
    assert (tmp_path / 'other.mp4').read_text() == 'something else'
    negative(drawn, tmp_path / 'out.mp4')
    negative(drawn, tmp_path / 'out.mp4')  # our own


@pytest.mark.parametrize('when', ['a piece', 'the end'])
def test_a_full_disk_leaves_no_half_clip_and_the_pieces_that_fit(drawn, tmp_path, when):
    """The disk is full for files of more than so many bytes, in a process of its own."""
    code = (
        'import resource, signal, sys; sys.path[:0] = [%r, %r]\n'
        'import pieces, test_video, utils; pieces.PIECE = 4\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (%d, -1))\n'
        'try: test_video.negative(%r, %r)\n'
        'except utils.UserError as error: print(error)'
    )
    limit = 300 if when == 'a piece' else 6000
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            code % (ROOT, os.path.join(ROOT, 'tests'), limit, str(drawn), str(tmp_path / 'out.mp4')),
        ],
        capture_output=True,
        text=True,
    )
    assert done.stdout.count('\n') == 1 and 'cannot write' in done.stdout, done.stdout + done.stderr
    assert 'Traceback' not in done.stderr
    assert sorted(os.listdir(tmp_path)) == ['drawn.mp4', 'out.mp4.pieces']
    if when == 'the end':
        assert negative(drawn, tmp_path / 'out.mp4') == 12


def test_frames_that_were_read_ahead_and_left_do_not_keep_the_process_from_ending():
    """As after an error, whose traceback holds them until the end."""
    code = (
        'import itertools, videos\n'
        'def leave():\n'
        '    frames = videos.ahead(itertools.count())\n'
        '    next(frames)\n'
        '    def cycle(): return cycle, frames\n'
        'leave()'
    )
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, timeout=60).returncode == 0


def test_without_pyav_one_line_says_what_to_install(fails, tmp_path):
    (tmp_path / 'av.py').write_text("raise ModuleNotFoundError(name='av')")
    line = fails('video.py', 'clip.mp4', PYTHONPATH=str(tmp_path))
    assert 'av is not installed' in line and 'install.py video' in line


def test_styles_change_over_time():
    times = mixtures.parse_times('4=sun, rising,0=waves,10=1', tiny.NAMES)
    assert times == [(0.0, {0: 1.0}), (4.0, {2: 1.0}), (10.0, {1: 1.0})]
    assert mixtures.at(times, -1) == mixtures.at(times, 0) == {0: 1.0}
    assert mixtures.at(times, fractions.Fraction(1)) == {0: 0.75, 2: 0.25}
    assert mixtures.at(times, 7) == {2: 0.5, 1: 0.5}
    assert mixtures.at(times, 10) == mixtures.at(times, 99) == {1: 1.0}
    for bad in ('waves', '1=nothing', 'x=waves', '-1=waves', '0=waves,'):
        with pytest.raises(utils.UserError):
            mixtures.parse_times(bad, tiny.NAMES)


def panned(count=8):
    """A photo seen through a window that moves by three pixels to the right and one down from frame to frame."""
    photo = files.read_image(os.path.join(ROOT, 'data', 'samples', 'cat.jpg'), size=200)
    return [numpy.ascontiguousarray(photo[i : i + 160, 3 * i : 3 * i + 200]) for i in range(count)]


def swimming(frame, seed):
    """A pastiche whose texture is another one in each frame."""
    texture = cv2.resize(numpy.random.RandomState(seed).normal(0, 60, (80, 100)).astype('float32'), (200, 160))
    return numpy.clip(255.0 - frame + texture[..., None], 0, 255).astype('uint8')


def unsteady(images):
    """The instability of images of the panned photo, by the motion that is known."""
    flow = numpy.empty(images[0].shape[:2] + (2,), 'float32')
    flow[:] = 3, 1
    trust = numpy.zeros(flow.shape[:2], 'float32')
    trust[:-1, :-3] = 1
    pairs = zip(images, images[1:])
    return numpy.mean([steadiness.instability(a, b, steadiness.Motion(flow, trust)) for a, b in pairs])


def test_the_motion_of_a_panned_photo_is_found():
    before, frame = panned(2)
    moved = steadiness.motion(before, frame)
    inner = slice(20, -20), slice(20, -20)
    assert numpy.abs(moved.flow[inner] - (3, 1)).mean() < 0.1
    assert moved.trust[inner].mean() > 0.9
    assert moved.trust[:, -3:].mean() < 0.3  # what came into the frame
    assert difference(steadiness.bring_forward(before, moved.flow)[inner], frame[inner]) < 2


def test_pastiches_of_a_panned_photo_become_steady_and_keep_their_contrast():
    frames = panned()
    alone = [swimming(frame, seed) for seed, frame in enumerate(frames)]
    assert unsteady(frames) == 0 and unsteady(alone) > 0.03
    steadier = steadiness.Steadier(0.7)
    steady = [steadier(p, steadiness.motion(a, b)) for p, a, b in zip(alone, frames[:1] + frames, frames)]
    assert unsteady(steady) < 0.5 * unsteady(alone)
    texture = [(images[-1] + frames[-1].astype(float) - 255).std() for images in (alone, steady)]
    # A mean of independent textures, of which 0.7 is the last one, would have 0.42 of it.
    assert texture[1] > 0.8 * texture[0]


def test_nothing_of_a_shot_is_seen_after_a_cut():
    a, b = panned(1)[0], numpy.ascontiguousarray(files.read_image(os.path.join(ROOT, 'data/samples/pavilion.jpg'), 200))
    b = b[:160, :200].copy()
    assert steadiness.motion(a, b) is None
    steadier = steadiness.Steadier(0.9)
    steadier(255 - a, None)
    assert (steadier(255 - b, steadiness.motion(a, b)) == 255 - b).all()


def test_nothing_drifts_where_nothing_moves():
    frame = panned(1)[0]
    steadier, moved = steadiness.Steadier(0.9), steadiness.motion(frame, frame)
    for _ in range(60):
        result = steadier(255 - frame, moved)
    assert numpy.abs(result.astype(int) - (255 - frame)).max() <= 2


def test_no_ghost_is_left_behind_what_moves():
    ground = panned(1)[0]

    def with_square(left):
        image = ground.copy()
        image[60:100, left : left + 40] = 250, 250, 30
        return image

    frames = [with_square(20 + 14 * i) for i in range(6)]
    behind = numpy.s_[60:100, 76:90]  # where the square was in the last frame but one
    steadier, blind = steadiness.Steadier(0.8), steadiness.Steadier(0.8)
    still = steadiness.Motion(numpy.zeros((160, 200, 2), 'float32'), numpy.ones((160, 200), 'float32'))
    for before, frame in zip(frames[:1] + frames, frames):
        result, ghost = steadier(frame, steadiness.motion(before, frame)), blind(frame, still)
    assert difference(result[behind], ground[behind]) < 0.2 * difference(ghost[behind], ground[behind])
    assert difference(result, frame) < 2


class Two:
    """In the place of a `pastiches.Stylist`, of two styles: the negative, and a darker frame."""

    styles, architecture = ['negative', 'dark'], types.SimpleNamespace(lost=0)

    def __call__(self, frame, mixture, strength, **controls):
        mixed = sum(weight * (255 - frame.astype(float), frame / 4)[style] for style, weight in mixture.items())
        return numpy.rint(strength * mixed + (1 - strength) * frame).astype('uint8')


def test_keys_change_what_is_shown(tmp_path):
    shown, frame = live.Live(Two(), folder=str(tmp_path)), clips.drawing(0)
    assert (shown.frame(frame) == 255 - frame).all()
    shown.key('Right')
    assert shown.status.startswith('dark') and shown.frame(frame).mean() < 128
    shown.key('s')
    assert difference(shown.frame(frame), frame / 4) < 0.5 and 'frame by frame' in shown.status
    for _ in range(5):
        shown.key('minus')
    assert difference(shown.frame(frame), 0.625 * frame) < 1 and 'strength 50 %' in shown.status
    for key in ['plus'] * 9 + ['Up'] * 3:
        shown.key(key)
    assert difference(shown.frame(frame), 0.7 * frame / 4 + 0.3 * (255.0 - frame)) < 1
    shown.key('p')
    assert (shown.frame(frame) == 255 - frame).all()
    shown.key('space')
    assert (files.read_image(shown.said) == 255 - frame).all()
    shown.key('q')
    assert shown.quit


def test_what_is_shown_can_be_recorded(tmp_path):
    shown = live.Live(Two(), share=0, folder=str(tmp_path))
    shown.key('r')
    for i in range(5):
        shown.frame(clips.drawing(i))
    assert not list(tmp_path.glob('*.mp4')) and 'recording' in shown.status
    shown.key('r')
    images, times = clips.read(shown.said)
    assert len(images) == 5 and times == sorted(times)
    assert max(difference(image, 255 - clips.drawing(i)) for i, image in enumerate(images)) < 8


def test_frames_that_are_not_taken_in_time_are_dropped():
    more = threading.Event()

    def frames():
        yield from (numpy.full(1, i) for i in range(5))
        more.set()
        time.sleep(0.05)
        yield numpy.full(1, 5)

    newest = live.Newest(frames())
    more.wait()
    assert newest.take(1)[0] == 4
    assert newest.take(1)[0] == 5
    with pytest.raises(EOFError):
        newest.take(1)


def test_the_window_shows_the_pastiche(tmp_path, monkeypatch):
    pytest.importorskip('tkinter')
    if not shutil.which('Xvfb'):
        pytest.skip('there is no Xvfb')
    read, write = os.pipe()
    display = subprocess.Popen(
        ['Xvfb', '-displayfd', str(write), '-screen', '0', '800x600x24'], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    try:
        monkeypatch.setenv('DISPLAY', ':' + os.read(read, 10).decode().strip())
        seen, frame = [], numpy.full((64, 96, 3), (250, 20, 130), 'uint8')

        def frames():
            for _ in range(3):
                yield frame
                time.sleep(0.5)
            seen.append(numpy.asarray(ImageGrab.grab(xdisplay=os.environ['DISPLAY'])))

        live.show(live.open_window(), live.Live(Two()), frames())
    finally:
        display.terminate()
        display.wait()
        os.close(read), os.close(write)
    assert (seen[0] == 255 - frame[0, 0]).all(-1).sum() == 64 * 96


def test_without_a_display_or_a_camera_there_is_one_line(fails, place):
    clips.write('clip.mp4', [clips.drawing(0)])
    assert 'no display' in fails('video.py', '--camera', 'clip.mp4', '--model', 'cin.npz', cwd=place, DISPLAY='')
    assert 'no such camera' in fails('video.py', '--camera', '63', '--model', 'cin.npz', cwd=place, DISPLAY='')
