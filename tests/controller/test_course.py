"""Requests and deployments of each way to create, by what the token may do and what the template asks."""

from datetime import timedelta

import pytest

from api.types import RepoSource, Source, Template
from controller.course import Verb, course_of
from controller.railway import Access

IMAGE = Template(source=Source(image="agents/convos:1"))
REPO = Template(source=Source(repo=RepoSource(name="xmtplabs/agent")))
ROOTED = Template(source=Source(repo=RepoSource(name="xmtplabs/agent", root_directory="app")))
CHECKED = IMAGE.model_copy(update={"healthcheck_path": "/healthz"})
HUSH, SETTLE = Verb.AUTO_DEPLOY_OFF, (Verb.UPDATE_SETTINGS, Verb.DEPLOY)


@pytest.mark.parametrize(
    ("template", "may_patch", "verbs"),
    [
        (IMAGE, True, (Verb.CREATE_EMPTY, Verb.PATCH)),
        (CHECKED, True, (Verb.CREATE_EMPTY, Verb.PATCH)),
        (REPO, True, (Verb.CREATE_EMPTY, Verb.PATCH, HUSH)),
        (IMAGE, False, (Verb.CREATE_WHOLE,)),
        (CHECKED, False, (Verb.CREATE_WHOLE, *SETTLE)),
        (REPO, False, (Verb.CREATE_WHOLE, HUSH)),
        (ROOTED, False, (Verb.CREATE_WHOLE, HUSH, *SETTLE)),
    ],
)
def test_a_course_is_chosen_by_token_and_template(
    template: Template, may_patch: bool, verbs: tuple[Verb, ...]
) -> None:
    access = Access("project", may_patch, "project", "environment")
    course = course_of(template, access, timedelta(minutes=15))
    assert (course.create, *course.after) == verbs
