"""Exit codes, and the error that carries one."""

OK = 0
FAILED = 1
USAGE = 2  # A wrong argument or a wrong setting.
NOT_FOUND = 4
TIMED_OUT = 5


class Exit(Exception):
    """End with this code; the text is for people, one line each."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self.code = code
