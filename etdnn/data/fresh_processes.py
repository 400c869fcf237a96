"""Tasks in processes of their own: for libraries whose global state must not pass from one task to the next."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import wait

from etdnn.errors import UserError


def run_in_fresh_processes(function: Callable[..., None], tasks: dict[str, tuple], jobs: int) -> None:
    """Call `function(*arguments)` for every task (name -> arguments), each in a new process, `jobs` at a time.

    Processes are forked from a server that has imported `function`'s module and run nothing of it. After the first
    failure no further task is started. Raises UserError with the failure's text and the task's name.
    """
    if jobs < 1:
        raise UserError(f"number of jobs is {jobs}, must be at least 1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    waiting, failures = list(tasks.items()), []
    running: dict[int, tuple] = {}
    try:
        while running or (waiting and not failures):
            while waiting and len(running) < jobs and not failures:
                name, arguments = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_call, args=(sender, function, arguments), name=name)
                process.start()
                sender.close()
                running[process.sentinel] = (process, receiver)
            for sentinel in wait(list(running)):
                process, receiver = running.pop(sentinel)
                process.join()
                failures += _failure(process, receiver)
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()
    if failures:
        raise UserError(failures[0])


def _call(sender, function: Callable[..., None], arguments: tuple) -> None:
    try:
        function(*arguments)
    except (UserError, OSError) as error:
        sender.send(str(error))
        raise SystemExit(1) from None


def _failure(process, receiver) -> list[str]:
    """Return what went wrong in an ended process, as a list of at most one text."""
    text = ""
    if receiver.poll():
        try:
            text = receiver.recv()
        except EOFError:
            text = ""
    receiver.close()
    if process.exitcode == 0:
        return []
    return [f"{process.name}: {text or f'process ended with status {process.exitcode}'}"]
