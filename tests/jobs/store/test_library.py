"""Pictures and models that callers brought."""

import pytest

from jobs.errors import Conflict, NotFound
from jobs.ids import image_id
from jobs.store import ImageRow, ModelRow
from tests.jobs.given import TENANT

SHA = "ab" * 32
IMAGE = ImageRow(image_id(SHA), f"t/default/i/{SHA}.png", 64, 48, "image/png", 1234, SHA)


def test_the_same_picture_is_one_image(store):
    first, created = store.put_image(TENANT, IMAGE)
    again, known = store.put_image(TENANT, IMAGE)

    assert created and not known and first == again == store.get_image(TENANT, IMAGE.id)
    assert first.created_at > 1.7e9 and first.width == 64


def test_a_picture_belongs_to_its_tenant(store):
    store.put_image(TENANT, IMAGE)

    with pytest.raises(NotFound):
        store.get_image("other", IMAGE.id)


def test_a_model_name_belongs_to_the_first(store):
    model = ModelRow("faces", "a" * 64, "t/default/m/faces/a/", {"name": "faces"})
    store.put_model(TENANT, model)
    store.put_model(TENANT, model)

    with pytest.raises(Conflict):
        store.put_model(TENANT, ModelRow("faces", "b" * 64, "q/", {}))
    store.put_model("other", ModelRow("faces", "b" * 64, "q/", {}))
    assert [row.sha256 for row in store.list_models(TENANT)] == ["a" * 64]
