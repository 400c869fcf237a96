"""Fixtures and options shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes; run with --slow"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real recordings: $ETDNN_DATA, or shared/data beside the checkout.

    Absent, the test is skipped by name; with ETDNN_REQUIRE_DATA=1 it fails instead.
    """
    given = os.environ.get("ETDNN_DATA")
    path = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if path.is_dir():
        return path
    reason = f"no recordings at {path}; set ETDNN_DATA to a folder that holds realspeech/, musan_like/ and rirs/"
    if os.environ.get("ETDNN_REQUIRE_DATA") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
