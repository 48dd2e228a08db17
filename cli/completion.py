# SPDX-License-Identifier: Apache-2.0
"""Completion of the names of buckets and objects, and the shells' scripts for it.

The shell waits for the answer. The answer therefore has at most one page of names, comes within
seconds, and is empty after an error. Without credentials, no request is made.
"""

import fcntl
import itertools
import os
import re
import termios
import warnings
from collections.abc import Iterator
from contextlib import suppress

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from .options import settings_of
from .places import make_store

_SCHEME = "s3://"
# The variable by which a shell's script requests names.
VARIABLE = "_S3CRYPT_COMPLETE"
# The number of names on one page of an S3 listing.
_MOST = 1000
_WAIT_SECONDS = "1"
_TIMEOUTS = ("S3CRYPT_CONNECT_TIMEOUT", "S3CRYPT_READ_TIMEOUT", "S3CRYPT_RETRY_SECONDS")
# Everything up to the last : or =. bash ends a word at them if they are in COMP_WORDBREAKS.
_BREAKS = re.compile(r".*[:=]")
_UNSAFE = re.compile(r"([^\w@%+=:,./-])")


def complete_uri(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the URIs that begin with an incomplete URI. Return an empty list after an error."""
    if not (incomplete.startswith(_SCHEME) or _SCHEME.startswith(incomplete)):
        return []
    for name in _TIMEOUTS:
        os.environ[name] = _WAIT_SECONDS
    try:
        with warnings.catch_warnings(), context.scope(cleanup=False):
            warnings.simplefilter("ignore")
            found = list(itertools.islice(_uris(context, incomplete), _MOST))
    except Exception:  # noqa: BLE001 - a message would be printed into the user's command line
        return []
    return [CompletionItem(uri) for uri in found if uri.isprintable()]


def complete_path(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the completions of an incomplete URI, or let the shell complete a file name."""
    if incomplete.startswith(_SCHEME[:3]):
        return complete_uri(context, parameter, incomplete)
    return [CompletionItem(incomplete, type="file")]


def _uris(context: click.Context, incomplete: str) -> Iterator[str]:
    settings = settings_of(context)
    if not settings.no_sign_request and settings.session.get_credentials() is None:
        return
    store = make_store(None, settings)
    bucket, slash, _ = incomplete.removeprefix(_SCHEME).partition("/")
    if slash:
        yield from (found.uri for found in store.list_level(incomplete))
        return
    for found in store.buckets():
        if incomplete in _SCHEME or found.name.startswith(bucket):
            yield f"{_SCHEME}{found.name}/"


class _Bash(BashComplete):
    """Completion in bash. It also completes URIs, although bash splits words at colons."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n'
    local response completion type value

    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)

    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
            if [[ $value == */ ]]; then compopt -o nospace; fi
        fi
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words of the line, and the incomplete word at its end."""
        line = os.environ.get("COMP_LINE")
        if line is None:
            # The user's script was printed by an earlier version, which did not pass COMP_LINE.
            return super().get_completion_args()
        words = split_arg_string(line)
        is_begun = not line[-1:].isspace()
        return (words[1:-1], words[-1]) if is_begun and len(words) > 1 else (words[1:], "")

    def format_completion(self, item: CompletionItem) -> str:
        """Return the item without its beginning that bash regards as earlier words."""
        kept = _BREAKS.match(self.get_completion_args()[1])
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        value = str(item.value)
        if kept is not None and kept[0][-1] in breaks and value.startswith(kept[0]):
            value = value[len(kept[0]) :]
        quoted = _UNSAFE.sub(r"\\\1", value)
        return f"{item.type},{quoted}"


class _Zsh(ZshComplete):
    """Completion in zsh. It adds no space after a bucket or a prefix, and shows no errors."""

    source_template = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a completions prefixes described response
    local type key descr
    (( ! $+commands[%(prog_name)s] )) && return 1

    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")

    for type key descr in "${(@)response}"; do
        if [[ "$type" == "plain" ]]; then
            if [[ "$descr" != "_" ]]; then
                described+=("$key":"$descr")
            elif [[ "$key" == */ ]]; then
                prefixes+=("$key")
            else
                completions+=("$key")
            fi
        elif [[ "$type" == "dir" ]]; then
            _path_files -/
        elif [[ "$type" == "file" ]]; then
            _path_files -f
        fi
    done

    if [ -n "$described" ]; then
        _describe -V unsorted described -U
    fi
    if [ -n "$prefixes" ]; then
        compadd -U -S '' -V unsorted -a prefixes
    fi
    if [ -n "$completions" ]; then
        compadd -U -V unsorted -a completions
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Fish(FishComplete):
    """Completion in fish. It keeps names with commas whole, and shows no errors."""

    source_template = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
        COMP_CWORD=(commandline -ct) %(prog_name)s 2>/dev/null)

    for completion in $response
        set -l metadata (string split --max 1 "," $completion)

        if test $metadata[1] = "dir"
            __fish_complete_directories $metadata[2]
        else if test $metadata[1] = "file"
            __fish_complete_path $metadata[2]
        else if test $metadata[1] = "plain"
            echo $metadata[2]
        end
    end
end

complete --no-files --keep-order --command %(prog_name)s --arguments \
    "(%(complete_func)s)"
"""


def register() -> None:
    """Register our scripts for bash, zsh and fish with click."""
    for script in (_Bash, _Zsh, _Fish):
        add_completion_class(script)


def leave_terminal() -> None:
    """Detach the process from its terminal, so that a question for an MFA token fails at once.

    Otherwise, the question would be printed into the user's command line, and the shell would wait
    for ever.
    """
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if os.getsid(0) == os.getpid():
        # If a session leader detaches, the kernel ends the other processes of the terminal.
        return
    with suppress(OSError):
        fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), termios.TIOCNOTTY)
