"""`atp status` as a program: a private libvirtd, a domain that it knows, and a channel that the network cuts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import trio
import yaml

from atp_trio.hypervisor.host import open_host
from atp_trio.testing.faults import open_fault_proxy

ATP = str(Path(sys.executable).with_name("atp"))
WITHIN = 90


def write_configuration(path: Path, libvirtd, **vms):
    known = [{"vm_id": name, "host": "host"} | where for name, where in vms.items()]
    named = [{"id": "host", "host": "localhost", "uri": libvirtd.uri}]
    path.write_text(yaml.safe_dump({"hosts": named, "spice": {"vms": known}, "reconnect": {"initial": 0.2, "maximum": 1}}))
    return path


def test_json(libvirtd, domain, tmp_path):
    path = write_configuration(tmp_path / "atp.yaml", libvirtd, vm={"domain": domain})
    done = subprocess.run([ATP, "status", path, "--json"], capture_output=True, text=True, timeout=WITHIN, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    (host,), (machine,) = told["hosts"], told["machines"]
    assert (host["state"], machine["state"]) == ("connected", "connected")
    assert 0 < host["latency"] < WITHIN
    assert 0 < machine["latency"] < WITHIN
    assert {"main:0", "display:0", "inputs:0"} <= {one["name"] for one in machine["channels"]}

    path = write_configuration(path, libvirtd, vm={"domain": domain}, none={"domain": "no such"})
    done = subprocess.run([ATP, "status", path, "--json"], capture_output=True, text=True, timeout=WITHIN, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    found = {one["id"]: one for one in json.loads(done.stdout)["machines"]}
    assert found["vm"]["state"] == "connected"
    assert found["none"]["state"] != "connected"


class Lines:
    """What the program prints, without the times of day."""

    def __init__(self, stdout: trio.abc.ReceiveStream) -> None:
        self._stdout = stdout
        self._rest = ""

    async def until(self, *wanted: str) -> list[str]:
        """The lines up to where each of these has begun one."""
        found: list[str] = []
        while not all(any(line.startswith(one) for line in found) for one in wanted):
            while "\n" not in self._rest:
                data = await self._stdout.receive_some()
                assert data, f"it has ended: {found}"
                self._rest += data.decode()
            line, _, self._rest = self._rest.partition("\n")
            found.append(line.partition(" ")[2])
        return found


async def test_a_channel_that_is_cut(libvirtd, domain, tmp_path):
    async with open_host(libvirtd.uri) as host:
        endpoint = await (await host.domain(domain)).spice_endpoint()
    with trio.fail_after(WITHIN):
        async with open_fault_proxy(str(endpoint.uri)) as proxy, trio.open_nursery() as nursery:
            path = write_configuration(tmp_path / "atp.yaml", libvirtd, vm={"domain": domain, "uri": proxy.uri})
            proxy.refuse("display")
            done = await trio.run_process([ATP, "status", str(path), "--json"], capture_stdout=True, check=False)
            (machine,) = json.loads(done.stdout)["machines"]
            display = next(one for one in machine["channels"] if one["name"] == "display:0")
            assert (done.returncode, machine["state"], display["state"] != "connected") == (1, "degraded", True)
            assert "display:0" in machine["cause"]
            proxy.heal()
            process = await nursery.start(lambda task_status: run(path, task_status))
            lines = Lines(process.stdout)
            await lines.until("host host is connected", "machine vm is connected")
            proxy.refuse("display")
            assert proxy.cut("display") == 1
            lost = await lines.until("channel display:0 of machine vm is disconnected: ", "machine vm is degraded: ")
            assert any("next attempt in" in line for line in lost)
            # Main and inputs go on, and so does the host.
            assert not [line for line in lost if line.startswith(("channel main", "channel inputs", "host"))]
            assert next(line for line in lost if line.startswith("machine vm is degraded")).count("display:0")
            proxy.heal()
            await lines.until("channel display:0 of machine vm is connected", "machine vm is connected")
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 128 + signal.SIGINT
            await proxy.wait_until(lambda: not proxy.connections)


async def run(path: Path, task_status) -> None:
    """The program, which ends with the test."""
    command = [ATP, "status", str(path)]
    await trio.run_process(command, stdout=subprocess.PIPE, check=False, task_status=task_status)
