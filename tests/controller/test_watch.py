"""Where each doorbell leads."""

import pytest

from api.records import Bell
from api.types import Key
from controller.watch import RESIZE_SOON_S, SETTLE_S, Doors, answer

POOL = Key("default", "pool")


@pytest.mark.parametrize(
    ("bell", "rung"),
    [
        (
            Bell("claim", "default", "c", "pool", "Pending"),
            [("bind", POOL), ("resize", POOL, RESIZE_SOON_S)],
        ),
        (Bell("claim", "default", "c", "pool", "Ready"), [("resize", POOL, RESIZE_SOON_S)]),
        (Bell("claim", "default", "c", "pool", "Deleted"), [("resize", POOL, RESIZE_SOON_S)]),
        (Bell("instance", "default", "i", "pool", "Idle"), [("resize", POOL, RESIZE_SOON_S)]),
        (Bell("pool", "default", "pool"), [("resize", POOL, SETTLE_S)]),
        (Bell("look", "default", "pool"), [("look", POOL)]),
        (Bell("looked", "default", "pool"), []),
        (Bell("resync"), [("everything",)]),
    ],
)
def test_a_bell_rings_the_passes_that_it_could_matter_to(
    bell: Bell, rung: list[tuple[object, ...]]
) -> None:
    heard: list[tuple[object, ...]] = []
    doors = Doors(
        bind=lambda key: heard.append(("bind", key)),
        resize=lambda key, after_s: heard.append(("resize", key, after_s)),
        look=lambda key: heard.append(("look", key)),
        everything=lambda: heard.append(("everything",)),
    )
    answer(bell, doors)
    assert heard == rung
