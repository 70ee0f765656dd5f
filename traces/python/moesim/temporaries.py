"""Files that get their name when they are whole: `.NAME.PID-COUNT.part` until then.

Of the standard library only, so that a signal can be answered before all else is loaded.
"""

import contextlib
import fcntl
import itertools
import os
import re

names = set()  # of files that are to be renamed yet
locks = {}  # their descriptors: a shared lock says on other machines that they are written


def forget(path):
    with contextlib.suppress(OSError):
        os.unlink(path)
    release(path)


def release(path):
    """It has its name, or is gone."""
    names.discard(path)
    with contextlib.suppress(OSError, KeyError):
        os.close(locks.pop(path))


def forget_all():
    for path in list(names):
        forget(path)


def is_abandoned(path, owner):
    """Whether its process is dead, on this machine and, as it holds no lock, on any other."""
    try:
        os.kill(owner, 0)
        return False
    except ProcessLookupError:
        pass
    except (OSError, OverflowError):
        return False
    try:
        with open(path, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def remove_abandoned(folder, short):
    """What processes left that were killed while they wrote this file."""
    ours = re.compile(rf"\.{re.escape(short)}\.([0-9]+)-[0-9]+\.part")
    with contextlib.suppress(OSError):
        for name in os.listdir(folder or "."):
            match = ours.fullmatch(name)
            path = os.path.join(folder, name)
            if match and is_abandoned(path, int(match[1])):
                os.unlink(path)


def begin(path):
    """A new file beside `path`. It is on the list before it exists: a signal may come between."""
    folder, name = os.path.split(path)
    short = os.fsdecode(os.fsencode(name)[:200])
    remove_abandoned(folder, short)
    for count in itertools.count():
        temporary = os.path.join(folder, f".{short}.{os.getpid()}-{count}.part")
        names.add(temporary)
        try:
            locks[temporary] = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(locks[temporary], fcntl.LOCK_SH | fcntl.LOCK_NB)
            return temporary
        except FileExistsError:
            names.discard(temporary)
        except BaseException:
            forget(temporary)
            raise


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def finish(temporary, path):
    """Gives it its name, once it is on the disk."""
    sync(temporary)
    os.replace(temporary, path)
    release(temporary)
    with contextlib.suppress(OSError):  # some folders cannot be synced
        sync(os.path.dirname(os.path.abspath(path)))
