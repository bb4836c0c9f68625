"""What a trivy scan can be asked for: which flag an option is, and what is refused by name."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rediver_agent import CommandError, ScanReport
from rediver_agent.testing import FakeScanContext, Played, scan
from rediver_trivy import Options, Trivy

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
LOOKED = {"ls": Played(stdout="Dockerfile\n"), "find": Played(1)}
RUN = {"trivy": Played(files={"report.json": APP}), **LOOKED}


def with_database(directory: Path) -> FakeScanContext:
    ctx = FakeScanContext(directory, RUN)
    (ctx.cache_dir / "db").mkdir()
    (ctx.cache_dir / "db" / "trivy.db").write_bytes(b"db")
    return ctx


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"kind": "config"}, ["fs", "--scanners=misconfig", "."]),
        (
            {"kind": "image", "input": "images/a.tar", "scanners": "secret"},
            ["image", "--scanners=secret", "--input=./images/a.tar"],
        ),
        (
            {"kind": "sbom", "input": "bom.json", "scanners": "license"},
            ["sbom", "--scanners=license", "./bom.json"],
        ),
        ({"severity": "high,CRITICAL"}, ["--severity=HIGH,CRITICAL"]),
        ({"severity": ["HIGH"]}, ["--severity=HIGH"]),
        (
            {"scanners": "vuln,license", "ignore_unfixed": True, "ignore_status": "affected"},
            ["--scanners=vuln,license", "--ignore-unfixed", "--ignore-status=affected"],
        ),
        ({"scanners": ["vuln"], "include_dev_deps": True}, ["--include-dev-deps"]),
        ({"scanners": ["license"], "license_full": True}, ["--license-full"]),
        ({"parallel": 1}, ["--parallel=1"]),
    ],
)
def test_an_option_is_a_flag_of_trivys(options, arguments, tmp_path):
    ctx = with_database(tmp_path)

    scan(Trivy(), ctx, **options)

    assert {*arguments} <= {*ctx.ran[0]}


def test_a_bill_of_materials_gets_no_flag_that_trivy_has_not_for_it(tmp_path):
    ctx = with_database(tmp_path)

    scan(Trivy(), ctx, kind="sbom", input="bom.json")

    assert not {"--skip-check-update", "--secret-config="} & {*ctx.ran[0]}


def test_files_of_the_host_are_handed_over_and_count_as_rules(tmp_path):
    (tmp_path / "checks").mkdir()
    check, accepted = tmp_path / "checks" / "mine.rego", tmp_path / "ignore.yaml"
    check.write_text("# a check\npackage user.mine\n")
    accepted.write_text("vulnerabilities: []\n")
    options = {"config_check": [str(check.parent)], "ignorefile": str(accepted)}

    def run(name: str) -> tuple[FakeScanContext, ScanReport]:
        ctx = FakeScanContext(tmp_path / name, RUN)
        return ctx, scan(Trivy(), ctx, **options)

    ctx, first = run("first")
    check.write_text("package user.mine\n")
    _, second = run("second")

    assert {
        f"--config-check={check.parent}",
        "--check-namespaces=user",
        f"--ignorefile={accepted}",
        "--show-suppressed",
    } <= {*ctx.ran[0]}
    hashes = [report.tool.properties["rules_hash"] for report in (first, second) if report.tool]
    assert len({*hashes}) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scanners": []}, "at least 1"),
        ({"scanners": ["all"]}, "'vuln', 'misconfig'"),
        ({"rules": ["x"]}, "Extra inputs"),
        ({"severity": "SEVERE"}, "'UNKNOWN', 'LOW'"),
        ({"kind": "repo"}, "'fs', 'config', 'image' or 'sbom'"),
        ({"kind": "config", "scanners": "vuln"}, "kind 'config' has no scanner 'vuln'"),
        ({"kind": "sbom", "input": "a", "scanners": "secret"}, "kind 'sbom' has no scanner"),
        ({"kind": "image"}, "needs `input`"),
        ({"input": "a.tar"}, "`input` is for image and sbom"),
        ({"kind": "sbom", "input": "a", "exclude": ["b"]}, "has no option 'exclude'"),
        ({"kind": "image", "input": "a", "include_dev_deps": True}, "has no option"),
        ({"ignore_unfixed": True}, "does nothing without vuln"),
        ({"license_full": True}, "does nothing without license"),
        ({"parallel": 1000}, "less than or equal to 256"),
        ({"ignorefile": "nowhere"}, "no file on the agent's host"),
        ({"config_check": ["nowhere"]}, "no folder and no .rego file"),
        ({"db_repository": ["--output=x"]}, "should match pattern"),
        ({"max_database_age": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Options.model_validate(options)


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.tar", "a/../../b.tar"])
def test_an_archive_outside_the_target_is_refused_before_trivy_sees_it(name, tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)

    with pytest.raises(CommandError, match="no file in app"):
        scan(Trivy(), ctx, kind="image", input=name, scanners="secret")
    assert ctx.ran == []
