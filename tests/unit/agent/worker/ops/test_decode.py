import sys

import numpy as np
import pytest

from edgectl_agent.worker.ops.decode import ImageDecoder, VideoDecoder
from edgectl_protos.domain.errors import RuntimeMissingError, SourceError
from edgectl_testkit.video import write_image, write_video

GREYS = [16 + 20 * index for index in range(10)]


def levels(decoder):
    found = []
    while (frame := decoder.read()) is not None:
        assert (frame.shape, frame.dtype, frame.flags.c_contiguous) == ((48, 64, 3), np.uint8, True)
        found.append(int(frame.mean().round()))
    return found


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_a_video_gives_its_frames_in_order_and_ends(tmp_path, suffix):
    path = write_video(tmp_path / f"v.{suffix}", GREYS)
    assert levels(VideoDecoder(path)) == pytest.approx(GREYS, abs=3)


def test_a_video_can_be_rewound_at_any_place(tmp_path):
    decoder = VideoDecoder(write_video(tmp_path / "v.mp4", GREYS))
    for reads in (0, 3, 10):
        for _ in range(reads):
            decoder.read()
        decoder.rewind()
        assert levels(decoder) == pytest.approx(GREYS, abs=3)
        decoder.rewind()


def test_a_frame_stays_as_it_was_when_the_next_is_read(tmp_path):
    decoder = VideoDecoder(write_video(tmp_path / "v.mp4", GREYS))
    first = decoder.read()
    kept = first.copy()
    for _ in range(5):
        decoder.read()
    np.testing.assert_array_equal(first, kept)


def test_red_is_the_first_channel(tmp_path):
    path = write_image(tmp_path / "red.png", np.full((8, 8, 3), (250, 10, 20), np.uint8))
    assert ImageDecoder(path).read()[0, 0].tolist() == [250, 10, 20]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_image_is_decoded_anew_each_time(tmp_path, suffix):
    picture = np.full((48, 64, 3), 120, np.uint8)
    decoder = ImageDecoder(write_image(tmp_path / f"i.{suffix}", picture))
    first, second = decoder.read(), decoder.read()
    assert not np.shares_memory(first, second)
    for frame in (first, second):
        assert np.abs(frame.astype(int) - 120).max() <= 2


@pytest.mark.parametrize("name", ["none.mp4", "text.mp4", "half.mp4"])
def test_a_file_that_is_no_video_is_refused_by_name(tmp_path, name):
    (tmp_path / "text.mp4").write_bytes(b"not a video at all\n" * 100)
    whole = write_video(tmp_path / "v.mp4", GREYS).read_bytes()
    # The index of an .mp4 stands at its end.
    (tmp_path / "half.mp4").write_bytes(whole[: whole.index(b"moov")])
    with pytest.raises(SourceError, match=f"{name} cannot be opened"):
        VideoDecoder(tmp_path / name)


def nth_frame(avi, count):
    """Where the frame of this number begins in the bytes of an .avi."""
    place = avi.index(b"movi")
    for _ in range(count + 1):
        place = avi.index(b"00dc", place + 4)
    return place


def test_a_stream_cut_between_two_frames_ends_early(tmp_path):
    whole = write_video(tmp_path / "v.avi", GREYS).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: nth_frame(whole, 6)])
    assert len(levels(VideoDecoder(tmp_path / "cut.avi"))) == 6


def test_a_damaged_frame_is_an_error_that_names_its_place(tmp_path):
    data = bytearray(write_video(tmp_path / "v.avi", GREYS).read_bytes())
    begin, end = nth_frame(data, 4) + 8, nth_frame(data, 5)
    data[begin:end] = bytes(end - begin)
    (tmp_path / "bad.avi").write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"bad\.avi does not decode at frame 4"):
        levels(VideoDecoder(tmp_path / "bad.avi"))


def test_a_truncated_image_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = write_image(tmp_path / "i.png", noise).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:60])
    with pytest.raises(SourceError, match=r"cut\.png"):
        ImageDecoder(tmp_path / "cut.png").read()


def test_a_device_without_pyav_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RuntimeMissingError, match="PyAV") as caught:
        VideoDecoder(tmp_path / "v.mp4")
    assert "edgectl-agent[video]" in caught.value.hint
