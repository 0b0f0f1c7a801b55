"""Railway's messages, codes and statuses, each with the error that its caller must see."""

import pytest

from controller.railway import (
    Gone,
    NameTaken,
    NoCapacity,
    NotAuthorized,
    NotReady,
    RailwayError,
    RateLimited,
    Refused,
    Unclear,
)
from controller.railway.errors import named_error

# As recorded by Railway's clients until October 2026; all but those marked came with HTTP 200.
SAID: list[tuple[str, type[RailwayError]]] = [
    ('A service named "convos-agent-x" already exists in this project', NameTaken),
    ("Domain is already in use", NameTaken),
    ("Not Authorized", NotAuthorized),
    ("Bad Access", NotAuthorized),
    ("Two Factor Authentication Required", NotAuthorized),
    ("Project not found", Gone),
    ("Service not found", Gone),
    ("ServiceInstance not found", Gone),
    ("Deployment not found", Gone),
    ("VolumeInstance not found", Gone),
    ("project token not found", Gone),
    ("Failed to create service domain, please try again", NotReady),
    (
        "Cannot redeploy yet, please wait for the original deployment to finish building, "
        "then try again.",
        NotReady,
    ),
    ("Cannot redeploy without a snapshot", Refused),
    ("Commit not found", Refused),
    ("Whoa there pal! You are creating volumes too quickly", RateLimited),
    ("This workspace allows 1 environment per 30 seconds", RateLimited),
    ("Only one project can be created every 30s", RateLimited),
    ("Service deployment rate limit exceeded", RateLimited),
    (
        "Free plan resource provision limit exceeded. Please upgrade to provision more resources!",
        NoCapacity,
    ),
    ("Your workspace has been restricted", NoCapacity),
    ('Unknown argument "skipDeploys" on field "Mutation.environmentPatchCommit".', Refused),
    ('Cannot query field "nonsense" on type "Service".', Refused),
    ("Problem processing request", Unclear),
    ("upstream connect error or disconnect/reset before headers", Unclear),
    ("Something nobody has written down", Unclear),
    ("", Unclear),
]


@pytest.mark.parametrize(("message", "kind"), SAID)
def test_the_message_decides_whatever_the_code_says(message: str, kind: type[RailwayError]) -> None:
    assert type(named_error(message, code="INTERNAL_SERVER_ERROR")) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("GRAPHQL_PARSE_FAILED", Refused),
        ("GRAPHQL_VALIDATION_FAILED", Refused),
        ("BAD_USER_INPUT", Refused),
        ("UNAUTHENTICATED", NotAuthorized),
        ("INTERNAL_SERVER_ERROR", Unclear),
    ],
)
def test_an_unknown_message_is_told_by_its_code(code: str, kind: type[RailwayError]) -> None:
    assert type(named_error("hm", code=code)) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refused), (401, NotAuthorized), (403, NotAuthorized), (429, RateLimited)]
    + [(status, Unclear) for status in (404, 500, 502, 503, 504)],
)
def test_without_a_code_the_status_tells(status: int, kind: type[RailwayError]) -> None:
    assert type(named_error("hm", http_status=status)) is kind


def test_a_missing_input_that_the_gateway_answers_with_400_is_still_unclear() -> None:
    assert type(named_error("Problem processing request", http_status=400)) is Unclear


@pytest.mark.parametrize(
    ("message", "told_s", "waits_s"),
    [
        ("slow down", 7.0, 7.0),
        ("slow down", None, 60.0),
        ("slow down", 0.0, 1.0),
        ("slow down", 1e9, 3600.0),
        ("creating volumes too quickly", None, 31.0),
        ("creating volumes too quickly", 45.0, 45.0),
        ("error code: 1015", None, 900.0),
        ("error code: 1015", 10.0, 900.0),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    message: str, told_s: float | None, waits_s: float
) -> None:
    error = named_error(message, http_status=429, retry_after_s=told_s)
    assert isinstance(error, RateLimited)
    assert error.after_s == waits_s


def test_a_quoted_wrong_input_is_not_repeated_nor_read() -> None:
    message = 'Variable "$input" got invalid value { KEY: "canary already exists" }; Expected X.'
    error = named_error(message, code="BAD_USER_INPUT")
    assert type(error) is Refused
    assert str(error) == 'Variable "$input" got invalid value'


def test_values_that_were_sent_are_hidden_but_do_not_change_what_is_meant() -> None:
    error = named_error(
        'A service named "already exists" with canary-1 and can\\"ary-2 already exists',
        hide=["already exists", "canary-1", 'can"ary-2', "a"],
    )
    assert type(error) is NameTaken
    assert str(error) == 'A service named "[hidden]" with [hidden] and [hidden] [hidden]'


def test_a_text_is_shortened_and_put_on_one_line() -> None:
    assert str(named_error("a\n b" + "c" * 1000)) == "a b" + "c" * 297
