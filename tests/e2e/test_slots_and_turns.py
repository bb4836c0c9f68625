"""How much an agent does at once, and what waits for what."""

from house import BIN, Program, wait_for
from stub_scanner import behave


def started(log):
    """How many tools were started in a target."""
    return len(log.read_text().split()) if log.exists() else 0


def test_two_scans_of_one_target_by_one_scanner_are_done_one_after_the_other(
    house, stub_env, tmp_path
):
    """The waiting one holds its lease, and its time-out of a second has not begun."""
    log = behave(tmp_path / "app", gate=str(tmp_path / "gate"))
    house.start_agent(tmp_path / "app", env=stub_env)
    first = house.scan(tmp_path / "app")
    wait_for(lambda: started(log) == 1, "the first tool runs")
    second = house.scan(tmp_path / "app", timeout_seconds=1, report_progress=True)
    waits = wait_for(
        lambda: (
            found
            if "finished first"
            in ((found := house.get(second)).get("progress") or {}).get("message", "")
            else None
        ),
        "the second says that it waits",
    )
    for _ in range(3):  # three renewals are more than the second that its time-out is
        lease = house.get(second)["lease_expires_at"]
        wait_for(
            lambda lease=lease: house.get(second)["lease_expires_at"] > lease,
            "its lease is renewed",
        )
    assert waits["status"] == "running"
    assert started(log) == 1

    (tmp_path / "gate").touch()

    assert house.outcome(first)["status"] == "completed"
    assert house.outcome(second)["status"] == "completed"
    assert started(log) == 2


def test_with_no_free_slot_scans_stay_with_the_server_and_control_commands_do_not(
    house, stub_env, tmp_path
):
    logs = [behave(tmp_path / name, gate=str(tmp_path / "gate")) for name in ("one", "two")]
    house.start_agent(tmp_path, env=stub_env, agent={"max_concurrent": 1})
    first = house.scan(tmp_path / "one")
    wait_for(lambda: started(logs[0]), "the first tool runs")
    low = house.scan(tmp_path / "two")
    urgent = house.command(
        payload={"scanner": "stub", "target": str(tmp_path / "one")}, priority="critical"
    )
    check = house.command("health_check", payload={})

    assert house.outcome(check)["status"] == "completed"
    assert [house.get(command)["status"] for command in (low, urgent)] == ["pending"] * 2
    cancelled = house.call("DELETE", f"/api/v1/commands/{first}")[1]

    assert cancelled["cancel_requested"]
    assert house.outcome(first)["status"] == "cancelled"
    wait_for(lambda: house.get(urgent)["status"] == "running", "the urgent one is next")
    assert house.get(low)["status"] == "pending"
    (tmp_path / "gate").touch()
    assert {house.outcome(command)["status"] for command in (low, urgent)} == {"completed"}


def test_results_of_an_outage_go_out_in_one_call(own_house, stub_env, tmp_path):
    gate = tmp_path / "gate"
    logs = [behave(tmp_path / f"app{n}", gate=str(gate), exit=3) for n in range(3)]
    agent = own_house.start_agent(tmp_path, env=stub_env, agent={"max_concurrent": 3})
    commands = [own_house.scan(tmp_path / f"app{n}") for n in range(3)]
    wait_for(lambda: all(started(log) for log in logs), "the tools run")
    own_house.server.stop()
    gate.touch()
    for command in commands:
        wait_for(lambda command=command: f"{command}: failed" in agent.text(), "it is done")
    agent.stop()

    own_house.start_server()
    own_house.start_agent(tmp_path, env=stub_env)

    reasons = {own_house.outcome(each)["result"]["metadata"]["reason"] for each in commands}
    assert reasons == {"tool_error"}
    assert own_house.server.text().count("/api/v1/commands/results") == 1
    assert "/result " not in own_house.server.text()


def test_an_agent_that_starts_leaves_the_scan_alone_that_somebody_types_just_now(
    house, stub_env, tmp_path
):
    log = behave(tmp_path / "app", gate=str(tmp_path / "gate"), findings=2)
    config = house.agent_config(tmp_path / "app")
    typed = Program(
        tmp_path / "typed.log", str(BIN / "rediver-agent"), "scan", str(tmp_path / "app"),
        "--scanner", "stub", "--push", "--config", str(config), env=stub_env,
    )  # fmt: skip
    house.programs.append(typed)
    wait_for(lambda: started(log), "the tool runs")

    house.start_agent(tmp_path / "app", env=stub_env)
    assert house.outcome(house.command("health_check", payload={}))["status"] == "completed"
    (tmp_path / "gate").touch()

    assert typed.process.wait(60) == 0, typed.text()
    assert len(house.findings()) == 2
