import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said here, in words that any Python can read
    sys.exit("error: Python >= 3.11 is needed, this is %d.%d: make PYTHON=..." % sys.version_info[:2])  # noqa: UP031

import benchmarks  # noqa: E402, F401 - outside of the environment it says which package is not installed
