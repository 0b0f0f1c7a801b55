"""How an instance comes to be: which requests, in which order, by its template and the token. Pure."""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from api.conditions import condition
from api.types import AgentInstance, Template
from controller.railway import Access, Service


class Verb(StrEnum):
    """The requests of an instance's life; the value stands as a condition's reason once done."""

    CREATE_EMPTY = "CreatedEmpty"
    CREATE_WHOLE = "CreatedWhole"
    CREATE_DOMAIN = "DomainCreated"
    PATCH = "Patched"
    AUTO_DEPLOY_OFF = "AutoDeployOff"
    UPDATE_SETTINGS = "SettingsUpdated"
    DEPLOY = "DeployStarted"
    DELETE = "DeleteAsked"


CREATES = (Verb.CREATE_EMPTY, Verb.CREATE_WHOLE)


@dataclass(frozen=True, slots=True)
class Course:
    """How instances of one pool come to be with this token, and how long that may take.

    `after`: what is sent once the service exists and has its domain. Requests in all, and deployments:
    image by patch 3, 1; repo by patch 4, 1; whole 2, 1 (a repo up to 3); with settings 2 more, 1 more.
    A repo adds auto-deploy off in either way, since a push would restart claimed agents.
    """

    create: Verb
    after: tuple[Verb, ...]
    provision_timeout: timedelta
    template_hash: str = ""  # Of the template whose course it is.


def course_of(
    template: Template, access: Access, provision_timeout: timedelta, template_hash: str = ""
) -> Course:
    """The course for this template with a token that may, or may not, patch environments."""
    repo = template.source.repo
    hush = (Verb.AUTO_DEPLOY_OFF,) if repo else ()
    if access.may_patch:
        return Course(Verb.CREATE_EMPTY, (Verb.PATCH, *hush), provision_timeout, template_hash)
    settings = template.healthcheck_path or (repo and repo.root_directory)
    restart = (Verb.UPDATE_SETTINGS, Verb.DEPLOY) if settings else ()
    return Course(Verb.CREATE_WHOLE, (*hush, *restart), provision_timeout, template_hash)


def own_course(
    course: Course | None, instance: AgentInstance, service: Service | None
) -> Course | None:
    """The course for an instance that may be of an earlier template: what it is made of, a look tells.

    A repository's auto-deploy goes off whatever the template says by now. Before a look shows the service
    nothing is said of it or sent to it, unless the answer to our own create told how it was made.
    """
    if course is None:
        return None
    if service is None:
        told = instance.status.service_id is None or _told_by_create(instance, course)
        return course if told else None
    if not service.from_repo or Verb.AUTO_DEPLOY_OFF in course.after:
        return course
    patch = course.after[:1] if Verb.PATCH in course.after else ()
    return replace(course, after=(*patch, Verb.AUTO_DEPLOY_OFF, *course.after[len(patch) :]))


def _told_by_create(instance: AgentInstance, course: Course) -> bool:
    """Not adopted: what collides with a create may be of another template than the one on record."""
    created = condition(instance.status.conditions, "Created")
    own = created is not None and created.reason in CREATES
    return own and instance.spec.template_hash == course.template_hash
