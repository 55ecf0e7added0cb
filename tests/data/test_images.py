"""Images are read from IDX files as they are published, and never from anything else."""

import gzip
import hashlib
import io
import struct
import tracemalloc
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
import torch

import batchproof as bp
from batchproof.data import (
    _images,
    load_digits,
    load_fashion_mnist,
    load_images,
    load_mnist,
    read_idx,
)


def idx(shape, values):
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(values)


def small_files(train_labels=(1, 9, 3), first=0):
    def images(n):
        return idx((n, 2, 2), range(first, first + 4 * n))

    return dict(
        zip(
            _images.FILES,
            [images(3), idx((3,), train_labels), images(2), idx((2,), (0, first // 10))],
            strict=True,
        )
    )


def write(folder, files, *, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def digests_of(files):
    return tuple(hashlib.md5(files[name]).hexdigest() for name in _images.FILES)


@pytest.fixture
def small_mnist(monkeypatch):
    """Files of three and two images, taken for the published ones."""
    files = small_files()
    monkeypatch.setattr(_images, "MNIST", replace(_images.MNIST, digests=digests_of(files)))
    return files


@pytest.mark.parametrize("layout", ["", "MNIST/raw", "mnist"])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_found_in_every_usual_layout(tmp_path, small_mnist, layout, zipped):
    write(tmp_path / layout, small_mnist, zipped=zipped)
    found = load_mnist(tmp_path)
    assert (found.name, found.classes, found.levels) == ("MNIST", 10, 255)
    assert found.train.images.shape == (3, 1, 2, 2)
    assert found.train.images.dtype == torch.uint8
    assert found.train.images.flatten().tolist() == list(range(12))
    assert found.train.labels.tolist() == [1, 9, 3]
    assert found.test.labels.tolist() == [0, 0]
    assert (len(found.train), len(found.test)) == (3, 2)


def test_the_published_mnist_is_read_whole(data):
    found = load_mnist(data)
    assert found.train.images.shape == (60000, 1, 28, 28)
    assert found.test.images.shape == (10000, 1, 28, 28)
    assert found.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert found.test.labels.bincount().tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    assert found.train.images.double().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert load_images(data / "mnist").name == "MNIST"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(bp.DataError, match=r"the data folder .*/nowhere does not exist"):
        load_mnist(tmp_path / "nowhere")


def test_missing_files_and_the_places_looked_at_are_named(tmp_path, small_mnist):
    small_mnist.pop("t10k-labels-idx1-ubyte")
    write(tmp_path, small_mnist)
    expected = f"missing t10k-labels-idx1-ubyte; looked in {tmp_path}, {tmp_path}/MNIST/raw,"
    with pytest.raises(bp.DataError, match=expected):
        load_mnist(tmp_path)


def test_a_truncated_file_is_recognised(tmp_path, small_mnist):
    name = "train-images-idx3-ubyte"
    small_mnist[name] = small_mnist[name][:-1]
    write(tmp_path, small_mnist)
    with pytest.raises(bp.DataError, match=f"{name} is truncated: 27 bytes, expected 28"):
        load_mnist(tmp_path)


def test_a_truncated_gzip_file_is_recognised(tmp_path, small_mnist):
    write(tmp_path, small_mnist, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(bp.DataError, match=r"\.gz is truncated or not a gzip file"):
        load_mnist(tmp_path)
    path.write_bytes(b"no gzip")
    with pytest.raises(bp.DataError, match=r"\.gz is truncated or not a gzip file"):
        load_mnist(tmp_path)
    path.write_bytes(gzip.compress(b"x" * 999)[:20] + b"\xff" * 40)
    with pytest.raises(bp.DataError, match=r"ubyte\.gz is .*not a gzip file"):
        load_mnist(tmp_path)


def test_a_file_of_another_digest_is_recognised(tmp_path, small_mnist):
    content = bytearray(small_mnist["t10k-images-idx3-ubyte"])
    content[-1] ^= 1
    small_mnist["t10k-images-idx3-ubyte"] = bytes(content)
    write(tmp_path, small_mnist)
    with pytest.raises(
        bp.DataError, match=r"t10k-images-idx3-ubyte has md5 .*; expected .*, the p"
    ):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing, not uint8 IDX"),
        (b"<html>", "begins with 3c68746d, not uint8 IDX"),
        (struct.pack(">HBB", 0, 13, 1) + bytes(8), "begins with 00000d01, not uint8 IDX"),
        (struct.pack(">HBB", 0, 8, 3) + bytes(4), "is truncated: 8 bytes, its header alone has 16"),
        (idx((2,), (1, 2, 3)), "is too long: 11 bytes, expected 10 for shape"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(bp.DataError, match=message):
        read_idx(path)


def test_idx_files_of_any_dimension_are_read(tmp_path):
    path = tmp_path / "file"
    for shape in [(3,), (2, 3), (2, 1, 3, 2), (0, 4)]:
        count = torch.Size(shape).numel()
        path.write_bytes(idx(shape, range(count)))
        assert read_idx(path).tolist() == torch.arange(count).view(shape).tolist()


def test_a_label_out_of_range_is_named_with_its_sample(tmp_path):
    write(tmp_path, small_files(train_labels=(1, 2, 10)))
    with pytest.raises(bp.DataError, match="sample 2 has label 10; expected 0 to 9"):
        load_fashion_mnist(tmp_path)


def test_images_and_labels_of_other_numbers_are_refused(tmp_path):
    files = small_files()
    files["train-labels-idx1-ubyte"] = idx((2,), (1, 2))
    write(tmp_path, files)
    with pytest.raises(bp.DataError, match=r"has shape \(3, 2, 2\) and its labels \(2,\)"):
        load_fashion_mnist(tmp_path)


def test_a_file_without_images_is_refused(tmp_path):
    files = small_files()
    files["t10k-images-idx3-ubyte"] = idx((0, 2, 2), ())
    files["t10k-labels-idx1-ubyte"] = idx((0,), ())
    write(tmp_path, files)
    with pytest.raises(bp.DataError, match="t10k-images-idx3-ubyte has no images"):
        load_fashion_mnist(tmp_path)


def test_fashion_mnist_is_told_from_mnist(tmp_path, small_mnist):
    write(tmp_path, small_mnist)
    with pytest.raises(bp.DataError, match=r"is MNIST's, not Fashion-MNIST's. Load it with load_m"):
        load_fashion_mnist(tmp_path)
    assert load_images(tmp_path).name == "MNIST"
    write(tmp_path / "both/FashionMNIST/raw", small_files(train_labels=(4, 4, 4), first=50))
    write(tmp_path / "both/MNIST/raw", small_mnist)
    assert load_images(tmp_path / "both").name == "Fashion-MNIST"
    assert load_mnist(tmp_path / "both").name == "MNIST"
    write(tmp_path / "one/MNIST/raw", small_mnist)
    assert load_images(tmp_path / "one").name == "MNIST"
    with pytest.raises(bp.DataError, match=r"Fashion-MNIST is not in .*/neither: missing train-im"):
        load_images(write(tmp_path / "neither", {}))


def test_the_digest_of_gzipped_fashion_mnist_is_checked(tmp_path):
    write(tmp_path, small_files(), zipped=True)
    with pytest.raises(bp.DataError, match=r"ubyte\.gz has md5 .* expected 8d4fb7e6c68d591d4c3dfe"):
        load_fashion_mnist(tmp_path)


def test_nothing_is_fetched_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: pytest.fail("fetched"))
    with pytest.raises(bp.DataError, match="with --download"):
        load_mnist(tmp_path)


def test_what_is_fetched_is_checked_and_then_there(tmp_path, monkeypatch, small_mnist):
    urls = []

    def serve(url, timeout):
        urls.append(url)
        name = url.rsplit("/", 1)[1].removesuffix(".gz")
        return io.BytesIO(gzip.compress(small_mnist[name]))

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    root = tmp_path / "new"
    assert len(load_mnist(root, download=True).train) == 3
    folder = root / "MNIST/raw"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.gz" for name in _images.FILES
    )
    assert urls[0] == "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz"
    assert len(load_mnist(root, download=True).train) == 3
    assert len(urls) == 4


def test_a_wrong_download_leaves_nothing_behind(tmp_path, monkeypatch, small_mnist):
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda url, timeout: io.BytesIO(gzip.compress(b"other"))
    )
    with pytest.raises(bp.DataError, match=r"gave a file of md5 .*; expected"):
        load_mnist(tmp_path, download=True)
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(b"<html>"))
    with pytest.raises(bp.DataError, match="did not give a gzip file"):
        load_mnist(tmp_path, download=True)

    def offline(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(bp.DataError, match=r"cannot be fetched: .*no route to host.* Check the n"):
        load_mnist(tmp_path, download=True)
    assert not list(tmp_path.rglob("*ubyte*"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, small_mnist):
    content = gzip.compress(small_mnist["train-images-idx3-ubyte"])
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content))
    (tmp_path / "MNIST").write_text("a file where a folder should be")
    with pytest.raises(
        bp.DataError, match=r"cannot be written: .*Give a data folder you may write"
    ):
        load_mnist(tmp_path, download=True)


def test_the_embedded_digits_are_split_the_same_each_time():
    digits = load_digits()
    assert digits.train.images.shape == (1437, 1, 8, 8)
    assert digits.test.images.shape == (360, 1, 8, 8)
    assert digits.levels == digits.train.images.max() == 16
    assert digits.train.labels[:6].tolist() == [1, 2, 3, 4, 6, 7]
    assert digits.test.labels[:3].tolist() == [0, 5, 0]
    assert (digits.train.labels.bincount() > 130).all()


@pytest.mark.parametrize(
    ("dimensions", "sizes", "sentence"),
    [
        (3, (0, 2**32 - 1, 2**32 - 1), "which no tensor can have"),
        (3, (2**32 - 1,) * 3, "which no tensor can have"),
        (255, (1,) * 255, "has 255 dimensions; expected at most 8"),
    ],
)
def test_a_header_that_no_tensor_can_have_is_refused(tmp_path, dimensions, sizes, sentence):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, dimensions]) + struct.pack(f">{len(sizes)}I", *sizes))
    with pytest.raises(bp.DataError, match=sentence) as refused:
        read_idx(path)
    assert len(str(refused.value)) < 400


def test_an_archive_is_unpacked_no_further_than_published_files_go(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(16):
            file.write(bytes(2**24))
    assert path.stat().st_size < 2**22
    tracemalloc.start()
    with pytest.raises(bp.DataError, match="unpacks to more than 64 MiB"):
        load_mnist(one_of_four(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 2**20


def one_of_four(path):
    for name in _images.FILES[1:]:
        (path.parent / name).write_bytes(b"")
    return path.parent


def test_a_file_larger_than_any_published_one_is_not_read(tmp_path):
    path = tmp_path / _images.FILES[0]
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(bp.DataError, match="cannot be read: holds more than 64 MiB"):
        load_mnist(one_of_four(path))


def test_an_endless_answer_is_not_read_to_its_end(tmp_path, monkeypatch):
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            assert size >= 0
            return bytes(size)

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Endless())
    with pytest.raises(bp.DataError, match="gave more than 64 MiB"):
        load_mnist(tmp_path, download=True)
    assert not list(tmp_path.rglob("*ubyte*"))
