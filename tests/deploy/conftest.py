"""kustomize and Helm for the tests here."""

import asyncio
import sys
from pathlib import Path

import pytest

from controller.local.binaries import Binaries
from controller.local.progress import Progress
from tests.deploy.helm_binary import helm_binary
from tests.deploy.rendered import Helm, Kustomize


@pytest.fixture(scope="session")
def helm_program(binaries: Binaries) -> Path:
    """Helm, built first where need be, told on stderr past pytest's capture; left out as the others are."""
    with open(sys.__stderr__.fileno(), "w", closefd=False) as out:  # type: ignore[union-attr]
        return asyncio.run(helm_binary(Progress(out)))


@pytest.fixture
def helm(helm_program: Path, tmp_path: Path) -> Helm:
    """Helm without a cluster."""
    return Helm(helm_program, tmp_path / "helm")


@pytest.fixture
def kustomize(binaries: Binaries) -> Kustomize:
    return Kustomize(binaries.kubectl)
