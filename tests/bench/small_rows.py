"""What is counted or timed by itself: QR codes, requests to Railway, a start."""

import asyncio
import random
import string
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import qrcode
import zxingcpp

from api.invite import qr_data_url
from controller.railway.client import RailwayClient
from tests.bench.fleet import ENVIRONMENT, PROJECT
from tests.bench.load import Clients
from tests.bench.rig import TOKEN, Rig
from tests.bench.table import Row
from tests.end_to_end.system import System
from tests.end_to_end.test_creating import WAYS, one_instance

QR_EACH = 200
QR_AIMS = {200: 1.5, 350: 2.0}
LOOKS_AT = (10, 500, 2_000, 10_000)
PAGE = 500  # Services in one request at most (facts/railway.md).
CLAIMS = 20
RENAMED_WITHIN_S = 120.0


async def qr(repeat: int) -> AsyncIterator[Row]:
    """One invite as a data URL; the floor is its matrix alone. Beside it `qrcode`, as usually called."""
    for length, aim in QR_AIMS.items():
        invites = [_invite(length, n) for n in range(QR_EACH)]
        times = [_each_ms(qr_data_url.__wrapped__, invites) for _ in range(repeat)]
        matrix = min(_each_ms(_matrix, invites) for _ in range(repeat))
        yield Row("qr", f"{length} characters", times, "ms", matrix, aim)
        usual = [_each_ms(_usual, invites[:5]) for _ in range(repeat)]
        yield Row("qr", f"{length} characters, qrcode", usual, "ms", matrix)


def _invite(length: int, seed: int) -> str:
    dice = random.Random(f"{length}/{seed}")
    start = "https://dev.convos.org/v2?i="
    letters = string.ascii_letters + string.digits + "-_"
    return start + "".join(dice.choices(letters, k=length - len(start)))


def _each_ms(work: Callable[[str], object], invites: list[str]) -> float:
    began = time.perf_counter()
    for invite in invites:
        work(invite)
    return 1000 * (time.perf_counter() - began) / len(invites)


def _matrix(invite: str) -> Any:
    return zxingcpp.create_barcode(invite, zxingcpp.BarcodeFormat.QRCode, ec_level="M")


def _usual(invite: str) -> Any:
    return qrcode.make(invite, error_correction=qrcode.constants.ERROR_CORRECT_M)


async def railway(repeat: int) -> AsyncIterator[Row]:
    """Requests for a look, for a create in each way, and for a claim."""
    async with Rig(idle=CLAIMS * 2) as rig:
        await Clients(rig, qr=False).saturate(CLAIMS, 4)
        yield Row("railway", "claim, before its answer", [await _renames(rig)], "requests", aim=0)
        deadline = time.monotonic() + RENAMED_WITHIN_S
        while await _renames(rig) < CLAIMS and time.monotonic() < deadline:
            await asyncio.sleep(1.0)
        await asyncio.sleep(3.0)
        each = await _renames(rig) / CLAIMS
        yield Row("railway", "claim, after it", [each], "requests", aim=1)
    async with Rig(controllers=0, sidecars=0) as rig:
        client = RailwayClient(
            rig.endpoint, TOKEN, PROJECT, ENVIRONMENT, clock=lambda: datetime.now(UTC)
        )
        for size in LOOKS_AT:
            await rig.show(size)
            seen = await client.observe()
            assert len(seen.services) == size
            pages = -(-size // PAGE)
            yield Row("railway", f"look at {size:,}", [seen.requests], "requests", aim=pages)
        await client.close()
    for way, (token, template, aim, _) in WAYS.items():
        with TemporaryDirectory() as folder:
            requests, _, _ = await one_instance(Path(folder), token, template)
        yield Row("railway", f"create: {way}", [requests.total()], "requests", aim=aim)


async def _renames(rig: Rig) -> int:
    return int((await rig.counts())["requests"].get("ServiceRename", 0))


async def start(repeat: int) -> AsyncIterator[Row]:
    """`agent-pool up` until it says how to claim: the first time, and over a state that is there."""
    with TemporaryDirectory(prefix="agent-pool-start-") as folder:
        Path(folder).chmod(0o711)
        system, times = System(Path(folder) / "state"), []
        for _ in range(repeat + 1):
            began = time.monotonic()
            await system.start()
            times.append(time.monotonic() - began)
            await system.stop()
    yield Row("start", "first", times[:1], "s")
    yield Row("start", "warm", times[1:], "s", aim=5)
