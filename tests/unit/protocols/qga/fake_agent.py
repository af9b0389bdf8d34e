"""An agent that is none: it keeps files in memory, and its programs do what a test tells them."""

from __future__ import annotations

import base64
import json
import math

import attrs
import trio

from atp_trio.errors import AgentUnavailable, HypervisorError
from atp_trio.hypervisor.domain import DomainState
from atp_trio.hypervisor.event import AgentLifecycle, DomainLifecycle
from atp_trio.hypervisor.events import EventHub

UUID = "8d1c2d0e-0000-4000-8000-000000000002"
ARGV = ["prog", "-x", "a b"]


class Refused(Exception):
    """The agent answers with this error."""


@attrs.define(eq=False)
class Program:
    argv: list
    env: list | None
    stdin: bytes
    place: str | None  # where its output goes
    status: dict = attrs.field(factory=lambda: {"exited": False})
    signals: list = attrs.field(factory=list)


class FakeAgent:
    """`answer` is the agent; the other methods are for tests."""

    def __init__(self):
        self.files = {}
        self.handles = {}
        self.programs = {}
        self.commands = []
        self.has_shell = True
        self.has_place = True
        self.max_write = math.inf
        self.on_exec = lambda program: None
        self.values = {}  # of commands that a test answers itself
        self.frozen = 0
        self._last = 1000

    # --- for tests

    def write(self, program, data, name="out"):
        self.files[f"{program.place}.{name}"] += data

    def end(self, program, **status):
        program.status = {"exited": True, **status}

    @property
    def running(self):
        return [one for one in self.programs.values() if not one.status["exited"]]

    def count(self, command):
        return sum(one["execute"] == command for one in self.commands)

    # --- the agent

    def answer(self, message):
        """What it says to this; None if nothing."""
        self.commands.append(message)
        name, arguments = message["execute"], message.get("arguments", {})
        try:
            if name in self.values:
                value = self.values[name]
                if isinstance(value, Exception):
                    raise value
                return {"return": value(arguments) if callable(value) else value}
            method = getattr(self, name.removeprefix("guest-").replace("-", "_"), None)
            if method is None:
                return {"error": {"class": "CommandNotFound", "desc": f"The command {name} has not been found"}}
            value = method(**{key.replace("-", "_"): one for key, one in arguments.items()})
        except Refused as error:
            return {"error": {"class": "GenericError", "desc": str(error)}}
        return None if name == "guest-shutdown" else {"return": value}

    def ping(self):
        return {}

    def shutdown(self, mode):
        if mode not in {"powerdown", "halt", "reboot"}:
            raise Refused("mode is invalid")

    def fsfreeze_freeze(self):
        self.frozen = 2
        return 2

    def fsfreeze_thaw(self):
        frozen, self.frozen = self.frozen, 0
        return frozen

    def file_open(self, path, mode):
        if "w" in mode:
            self.files[path] = bytearray()
        elif path not in self.files:
            raise Refused(f"failed to open file '{path}' (mode: '{mode}'): No such file or directory")
        self._last += 1
        self.handles[self._last] = [path, 0]
        return self._last

    def _handle(self, handle):
        if handle not in self.handles:
            raise Refused(f"handle '{handle}' has not been found")
        return self.handles[handle]

    def file_close(self, handle):
        self._handle(handle)
        del self.handles[handle]
        return {}

    def file_flush(self, handle):
        self._handle(handle)
        return {}

    def file_seek(self, handle, offset, whence):
        entry = self._handle(handle)
        entry[1] = offset + (len(self.files[entry[0]]) if whence == 2 else 0)
        return {"position": entry[1], "eof": False}

    def file_read(self, handle, count):
        entry = self._handle(handle)
        path, position = entry
        data = bytes(self.files[path][position : position + count])
        entry[1] += len(data)
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": len(data) < count}

    def file_write(self, handle, buf_b64):
        entry = self._handle(handle)
        data = base64.b64decode(buf_b64)[: min(self.max_write, 1 << 30)]
        content = self.files[entry[0]]
        content[entry[1] : entry[1] + len(data)] = data
        entry[1] += len(data)
        return {"count": len(data), "eof": False}

    def exec(self, path, arg=(), env=None, input_data="", capture_output=False):
        if path == "/bin/sh" and not self.has_shell:
            raise Refused("Failed to execute child process “/bin/sh” (No such file or directory)")
        if path == "nope":
            raise Refused("Failed to execute child process “nope” (No such file or directory)")
        self._last += 1
        stdin = base64.b64decode(input_data)
        if path == "rm":
            for one in arg[1:]:
                self.files.pop(one, None)
            program = Program([path, *arg], env, stdin, None, status={"exited": True, "exitcode": 0})
        elif path != "/bin/sh":
            program = Program([path, *arg], env, stdin, None)
        else:
            _, script, place, *words = arg
            program = Program(words, env, stdin, place)
            if "exec" not in script:  # to be there, or to kill
                program.status = {"exited": True, "exitcode": 0}
                self._do(script, place, words)
            elif not self.has_place:
                program.status = {"exited": True, "exitcode": 1}
            else:
                program.stdin = bytes(self.files.get(f"{place}.in", stdin))
                self.files |= {f"{place}.out": bytearray(), f"{place}.err": bytearray()}
        self.programs[self._last] = program
        if not program.status["exited"]:
            self.on_exec(program)
        return {"pid": self._last}

    def _do(self, script, place, words):
        if script.startswith("kill"):
            program = self.programs.get(int(place))
            if program is not None:
                program.signals += words
                if words == ["KILL"]:
                    self.end(program, signal=9)

    def exec_status(self, pid):
        if pid not in self.programs:
            raise Refused("Invalid parameter 'pid'")
        program = self.programs[pid]
        if program.status["exited"]:
            del self.programs[pid]  # it is told once
        return program.status


def ends(agent, *, out=b"", err=b"", **status):
    """Programs end at once, like this."""

    def end(program):
        if program.place is None:
            agent.end(program, **status)
            return
        agent.write(program, out)
        agent.write(program, err, "err")
        agent.end(program, **status)

    agent.on_exec = end


def started(agent):
    (program,) = agent.running
    return program


class FakeHost:
    """A host whose libvirt has events, and nothing else."""

    def __init__(self):
        self.hub = EventHub()
        wanted = {AgentLifecycle, DomainLifecycle}
        self.hub._wanted, self.hub._registered = dict.fromkeys(wanted), set(wanted)

    def events(self, *types, domain):
        return self.hub.receive(frozenset(types), domain.uuid, 256)

    def agent_came(self):
        self.hub._tell(AgentLifecycle(name="vm", uuid=UUID, state=1, reason=2))


class FakeDomain:
    """A domain with that agent, as libvirt tells of it."""

    def __init__(self, agent):
        self.fake = agent
        self.host = FakeHost()
        self.uuid = UUID
        self.failure = None  # what libvirt raises instead
        self.timeouts = []
        self.machine = DomainState.RUNNING
        self.is_silent = False
        self.gate = None  # where answers wait
        self._queue = trio.Lock()

    async def state(self):
        return self.machine

    async def agent(self, command, *, timeout):  # noqa: ASYNC109
        await trio.lowlevel.checkpoint_if_cancelled()
        # As in the real one, who is cancelled later goes without the answer of a command that was carried out.
        async with self._queue:
            self.timeouts.append(timeout)
            if self.failure is not None:
                raise self.failure
            if self.is_silent:
                await trio.sleep(timeout if timeout > 0 else math.inf)
                raise silent()
            message = json.loads(command)
            answer = self.fake.answer(message)
            await trio.lowlevel.checkpoint()
            if self.gate is not None:
                await self.gate.wait()
            if answer is None:
                await trio.sleep(timeout)
                raise silent()
            if "error" in answer:
                text = f"unable to execute QEMU agent command '{message['execute']}': {answer['error']['desc']}"
                raise HypervisorError(f"internal error: {text}", code=1, domain=10)
            return json.dumps(answer)


def silent():
    return AgentUnavailable("Guest agent is not responding: Guest agent not available for now", code=86, domain=10)


def not_connected():
    return AgentUnavailable("Guest agent is not responding: QEMU guest agent is not connected", code=86, domain=10)


def disappeared():
    return AgentUnavailable("Guest agent is not responding: Guest agent disappeared while executing command", code=86, domain=10)


def not_configured():
    return HypervisorError("argument unsupported: QEMU guest agent is not configured", code=74, domain=10)


def not_running():
    return HypervisorError("Requested operation is not valid: domain is not running", code=55, domain=10)
