import sys


def _say_what_is_not_installed(kind: type[BaseException], error: BaseException, trace) -> None:
    """Outside of the environment, where packages are missing, one line says so in the place of a traceback."""
    if isinstance(error, ModuleNotFoundError):
        print(f"error: {error.name} is not installed for this Python, {sys.executable}; `make env` sets up .venv: use "
              ".venv/bin/python -m ...", file=sys.stderr)  # fmt: skip
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_what_is_not_installed
