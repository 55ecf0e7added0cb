"""What is said where a framework is absent, or older than an integration wraps."""

from importlib import metadata

import pytest

from batchproof import ProbeError
from batchproof.integrations import _given


@pytest.fixture(autouse=True)
def fresh():
    _given._expect_versions.cache_clear()
    yield
    _given._expect_versions.cache_clear()


def test_an_absent_framework_names_its_extra():
    expected = (
        r"nonesuch is not installed, and batchproof.integrations.keras runs it; install it with"
    )
    with pytest.raises(ProbeError, match=expected):
        _given.framework("nonesuch", "keras")


def test_an_older_framework_names_the_version_that_is_expected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["math>=3.10; extra == 'keras'"])
    for version, fits in (("3.9.2", False), ("3.10", True), ("3.10.0rc1", True), ("4", True)):
        monkeypatch.setattr(metadata, "version", lambda _, version=version: version)
        _given._expect_versions.cache_clear()
        if fits:
            assert _given.framework("math", "keras").pi
            continue
        expected = r"math 3.9.2 is installed; .* expects 3.10 or later. Install it with: pip"
        with pytest.raises(ProbeError, match=expected):
            _given.framework("math", "keras")


def test_a_framework_that_quarrels_with_another_package_is_one_line(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    text = "raise ImportError('tokenizers<=0.23.0 is required, but found 0.23.3.\\nTry: pip')"
    (tmp_path / "quarrels.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    expected = r"^tokenizers<=0.23.0 is required, but found 0.23.3, and .*\[keras\]'\.$"
    with pytest.raises(ProbeError, match=expected):
        _given.framework("quarrels", "keras")


def test_a_copy_without_metadata_is_not_refused(monkeypatch: pytest.MonkeyPatch):
    def absent(_: str) -> list[str]:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", absent)
    assert _given.framework("math", "keras").pi


def test_the_extras_of_the_package_are_read():
    lines = metadata.requires("batchproof") or []
    assert any(line.replace('"', "'").endswith("extra == 'keras'") for line in lines)
