"""Children under the supervisor, and the embedded Redis."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from client import embedded_redis
from client.supervisor import GIVE_UP_AFTER, Child, Supervisor, UpError, describe_exit

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


class HandClock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def eventually(condition, within_s=20.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def told():
    return []


@pytest.fixture
def supervise(told):
    made = []

    def make(*children, clock=time.monotonic):
        made.append(Supervisor(children, tell=told.append, clock=clock))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop(())


def child(tmp_path, command=SLEEPER, name="child", **options):
    return Child(name, command, tmp_path / f"{name}.log", os.environ, **options)


def kill_and_wait(child):
    child.process.kill()
    child.process.wait()


def test_a_child_that_dies_is_started_again_after_a_pause_that_grows(tmp_path, supervise, told):
    clock = HandClock()
    one = child(tmp_path)
    supervisor = supervise(one, clock=clock)
    supervisor.start(within_s=10, stopping=lambda: False)

    pauses = []
    for _ in range(3):
        kill_and_wait(one)
        supervisor.tick()
        assert one.process is None
        pauses.append(one.restart_at - clock.now)
        clock.now = one.restart_at
        supervisor.tick()
        assert one.process.poll() is None

    assert pauses == [0.5, 1.0, 2.0]
    assert "was killed by SIGKILL" in told[0]


def test_a_child_that_lived_long_starts_its_back_off_afresh(tmp_path, supervise):
    clock = HandClock()
    one = child(tmp_path)
    supervisor = supervise(one, clock=clock)
    supervisor.start(within_s=10, stopping=lambda: False)
    one.deaths = 4
    clock.now += 3600
    kill_and_wait(one)
    supervisor.tick()

    assert one.restart_at == clock.now + 0.5


def test_a_child_that_never_holds_is_given_up_with_the_end_of_its_log(tmp_path, supervise):
    clock = HandClock()
    one = child(tmp_path, [sys.executable, "-c", "raise SystemExit('no such setting')"])
    supervisor = supervise(one, clock=clock)
    supervisor.start(within_s=10, stopping=lambda: False)

    with pytest.raises(UpError, match="no such setting"):
        for _ in range(GIVE_UP_AFTER):
            one.process.wait()
            supervisor.tick()
            clock.now = one.restart_at
            supervisor.tick()


def test_children_stop_in_the_order_asked_for(tmp_path, supervise):
    order = []
    report = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up'); time.sleep(600)"
    )
    children = [child(tmp_path, [sys.executable, "-uc", report], name) for name in ("a", "b", "c")]
    supervisor = supervise(*children)
    supervisor.start(within_s=10, stopping=lambda: False)
    assert eventually(lambda: all(c.log.read_text() == "up\n" for c in children))
    for one in children:
        stop = one.stop
        one.stop = lambda name=one.name, stop=stop: order.append(name) or stop()

    assert supervisor.stop(("c", "a")) is True
    assert order == ["c", "a", "b"]


def test_a_child_that_ignores_the_request_to_stop_is_killed_and_said_so(tmp_path, supervise, told):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)"
    one = child(tmp_path, [sys.executable, "-uc", deaf], stop_within_s=0.2)
    supervisor = supervise(one)
    supervisor.start(within_s=10, stopping=lambda: False)
    assert eventually(lambda: one.log.read_text() == "up\n")

    assert supervisor.stop(()) is False
    assert "was killed" in told[0]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_children_end_when_the_supervisor_is_killed(tmp_path):
    code = f"""
        import os, time
        from pathlib import Path
        from client.supervisor import Child, Supervisor
        child = Child("c", {SLEEPER!r}, Path({str(tmp_path)!r}) / "log", os.environ)
        Supervisor([child], tell=print).start(within_s=10, stopping=lambda: False)
        print(child.process.pid, flush=True)
        time.sleep(600)
    """
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()

    assert eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_exit_codes_and_signals_are_told_apart():
    assert describe_exit(-signal.SIGKILL) == "was killed by SIGKILL"
    assert describe_exit(70) == "ended with exit code 70"


# --- the embedded Redis -----------------------------------------------------------------------------------


@pytest.fixture
def redis(tmp_path):
    """Start a Redis on a folder as `up` does; the function returns its process."""
    started = []

    def start(folder):
        folder.mkdir(exist_ok=True)
        path = embedded_redis.socket_path(folder)
        command = embedded_redis.command(embedded_redis.find_binary(), folder, path)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        started.append(process)
        assert eventually(lambda: embedded_redis.answers(path))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_redis_answers_on_its_socket_with_append_only_files_and_no_eviction(tmp_path, redis):
    import redis as redis_py

    process = redis(tmp_path / "redis")
    connection = redis_py.Redis(unix_socket_path=str(embedded_redis.socket_path(tmp_path / "redis")))

    config = connection.config_get("*")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["port"] == "0"
    assert int(embedded_redis.pid_file(tmp_path / "redis").read_text()) == process.pid
    connection.close()


def test_a_redis_that_was_left_behind_is_stopped_and_its_data_kept(tmp_path, redis):
    import redis as redis_py

    folder = tmp_path / "redis"
    first = redis(folder)
    path = str(embedded_redis.socket_path(folder))
    with redis_py.Redis(unix_socket_path=path) as connection:
        connection.set("kept", "yes")

    embedded_redis.reap_orphan(folder)

    assert first.wait(10) == 0
    redis(folder)
    with redis_py.Redis(unix_socket_path=path) as connection:
        assert connection.get("kept") == b"yes"


def test_a_process_that_came_by_the_pid_is_left_alone(tmp_path, redis):
    other = redis(tmp_path / "other")
    folder = tmp_path / "redis"
    folder.mkdir()
    with subprocess.Popen(SLEEPER, cwd=folder) as sleeper:
        for pid in (sleeper.pid, other.pid):
            embedded_redis.pid_file(folder).write_text(str(pid))
            embedded_redis.reap_orphan(folder)

        assert sleeper.poll() is None
        assert other.poll() is None
        sleeper.kill()


@pytest.mark.parametrize("text", ["", "no number", "99999999"])
def test_a_pid_file_of_no_process_is_passed_over(tmp_path, text):
    embedded_redis.pid_file(tmp_path).write_text(text)
    embedded_redis.reap_orphan(tmp_path)


def test_a_folder_with_a_long_path_gets_a_short_socket(tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()

    path = embedded_redis.socket_path(long)

    assert len(str(path)) <= embedded_redis.LONGEST_SOCKET_PATH
    assert path == embedded_redis.socket_path(long)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.rmdir()
