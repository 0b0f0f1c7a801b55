"""What a run in CI is held to: nothing skipped or expected to fail, no fewer tests than tests/COUNT says.

Elsewhere a skip is a note about what to install. The number counts only for a run of everything.
"""

import os
from pathlib import Path

import pytest

COUNT = Path(__file__).with_name("COUNT")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI", "") not in ("", "0") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Accounting(complete=_is_complete(config)))


def _is_complete(config: pytest.Config) -> bool:
    narrowed = config.option.keyword or config.option.markexpr or config.option.collectonly
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not narrowed


class Accounting:
    """Counts what ran (with xdist: what the workers report) and fails the run where it falls short."""

    def __init__(self, complete: bool) -> None:
        self._complete = complete
        self._ran = 0  # By their set-ups: a plugin may give several tests one name.
        self._left_out: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ran += report.when == "setup"
        if report.skipped or hasattr(report, "wasxfail"):
            self._left_out.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._left_out.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.problems() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for problem in self.problems():
            terminalreporter.write_line(f"CI: {problem}", red=True)

    def problems(self) -> list[str]:
        found = [f"left out, which CI does not allow: {nodeid}" for nodeid in self._left_out]
        wanted = int(COUNT.read_text())
        if self._complete and self._ran < wanted:
            found.append(f"{self._ran} tests ran, and tests/COUNT says {wanted}")
        return found
