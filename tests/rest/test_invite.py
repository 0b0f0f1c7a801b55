"""The QR code of an invite, read back by another program's eyes."""

import base64
import io

import pytest
import zxingcpp
from PIL import Image

from api.invite import qr_data_url


def read_back(data_url: str) -> tuple[str, Image.Image]:
    kind, _, data = data_url.partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    picture.load()
    found = zxingcpp.read_barcode(picture)
    assert found is not None
    return found.text, picture


@pytest.mark.parametrize("characters", [40, 200, 350, 2048])
def test_a_qr_decodes_to_its_invite(characters: int) -> None:
    invite = ("https://dev.convos.org/v2?i=" + "aB3-_9" * 400)[:characters]
    text, picture = read_back(qr_data_url(invite))
    assert text == invite
    assert picture.mode == "1"
    assert picture.width == picture.height


def test_it_is_a_pure_function_of_the_invite() -> None:
    first = qr_data_url("https://x.org/a")
    qr_data_url.cache_clear()
    assert qr_data_url("https://x.org/a") == first
    assert qr_data_url("https://x.org/b") != first


def test_an_invite_too_long_for_a_qr_is_refused() -> None:
    with pytest.raises(ValueError):
        qr_data_url("https://x.org/" + "a" * 2331)
