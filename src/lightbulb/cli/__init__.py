"""The command `lightbulb`: verbs to API calls, no logic. Importing it imports neither torch nor transformers."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable

from lightbulb.cli.examining import doctor
from lightbulb.cli.exporting import export
from lightbulb.cli.forecasting import forecast
from lightbulb.cli.measuring import measure
from lightbulb.cli.options import VALUES, check_verb
from lightbulb.cli.output import check_arguments, is_text, print_anything, shown, with_flags
from lightbulb.cli.predicting import predict
from lightbulb.cli.searching import search
from lightbulb.cli.serving import serve
from lightbulb.cli.shrinking import ask, report, run, shrink
from lightbulb.cli.training import train
from lightbulb.core.errors import LightbulbError, UserError
from lightbulb.core.version import __version__

VERBS: dict[str, Callable[..., None]] = {
    "shrink": shrink,
    "search": search,
    "ask": ask,
    "serve": serve,
    "export": export,
    "run": run,
    "train": train,
    "report": report,
    "measure": measure,
    "predict": predict,
    "forecast": forecast,
    "doctor": doctor,
}

DESCRIPTION = "The model that does your work for the fewest joules. lightbulb --version (-V) prints the version."
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ELOOP)  # of names alone


def _tell(error: LightbulbError, verb: str | None) -> int:
    """Prints it in the words of the command that was typed; returns the exit code."""
    with contextlib.suppress(BrokenPipeError):
        print(with_flags(f"error: {error}", VERBS.get(verb or "")), file=sys.stderr)
    return error.exit_code


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0 done, 1 failed, 2 asked for something that cannot be done as asked."""
    import tyro

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # OpenMP's threads wait asleep: spinning, they hold the core that the other thread was driven from, and beside other
    # work training is several times slower (docs/lab-notes.md). Before torch or llama.cpp load it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = next(iter(arguments), None)
    print_anything()
    try:
        check_arguments(arguments)
        if arguments in (["--version"], ["-V"]):
            print(f"lightbulb {__version__}")
        else:
            check_verb(arguments, VERBS)
            tyro.extras.subcommand_cli_from_dict(
                VERBS, args=arguments, prog="lightbulb", description=DESCRIPTION, registry=VALUES
            )
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has read enough (`| head`); nothing more is written, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LightbulbError as e:
        return _tell(e, verb)
    except UnicodeError as e:
        if all(map(is_text, arguments)):
            raise
        where = next(shown(a) for a in arguments if not is_text(a))
        return _tell(
            UserError(f"a name that is not UTF-8 cannot be used here: {e}", where=where, hint="rename it"), verb
        )
    except OSError as e:
        if e.errno not in NAME_ERRORS:
            raise
        return _tell(UserError(f"{e.strerror}", where=shown(str(e.filename))[:200], hint="give another name"), verb)
    except KeyboardInterrupt:
        resumes = arguments[:1] in (["shrink"], ["search"], ["run"], ["train"])
        print("stopped" + ("; the same command resumes" if resumes else ""), file=sys.stderr)
        return 130
    return 0
