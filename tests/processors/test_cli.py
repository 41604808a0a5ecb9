"""The command: lazy, helpful, one line per error, its exit status."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.analysis.report.tables import Field, Table, count
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.processors import commands, console
from jpsi_lnv.processors.books import ledger
from jpsi_lnv.processors.cli import lnv, main
from jpsi_lnv.processors.commands import batch
from jpsi_lnv.processors.console import bar

pytestmark = pytest.mark.fast

MODULES = sorted(p.stem for p in Path(commands.__path__[0]).glob("*.py") if p.stem != "__init__")


def status(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def test_help_lists_every_command_without_loading_one():
    code = "import sys; from jpsi_lnv.processors.cli import main; main(['--help'])"
    run = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    for name in MODULES:
        assert name.replace("_", "-") in run.stdout
    assert "coffea" not in run.stderr
    assert "numpy" not in run.stderr


@pytest.mark.parametrize("name", MODULES)
def test_every_command_has_help_with_defaults(name):
    command = lnv.get_command(click.Context(lnv), name.replace("_", "-"))
    assert isinstance(command, click.Command)
    result = CliRunner().invoke(lnv, [name.replace("_", "-"), "--help"])
    assert result.exit_code == 0, result.output
    module = ast.parse((Path(commands.__path__[0]) / f"{name}.py").read_text())
    assert ast.get_docstring(module).partition("\n")[0].endswith(".")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("limits.lead = 3", "lead"),
        ("limits.lead = 'neither'", "neither"),
        ("limits.lode = 'rolke'", "limits.lode, which is no option of `lnv limits`"),
        ("limit.lead = 'rolke'", "a table of no command, 'limit'"),
        ("lead = 'rolke'", "lead is 'rolke'"),
        ("[limits", "is not TOML"),
    ],
)
def test_a_wrong_configuration_is_refused(content, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lnv.toml").write_text(content)
    assert status(["limits"]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_configuration_that_is_named_must_be_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert status(["--config", "none.toml", "limits"]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_an_error_is_one_line_and_a_traceback_on_request(tmp_path, capsys):
    path = tmp_path / "fileset.json"
    assert status(["run", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "cannot be read" in shown.err
    with pytest.raises(FilesetError):
        main(["--debug", "run", str(path)])


def test_debug_means_one_thing_wherever_it_stands(tmp_path):
    path = str(tmp_path / "fileset.json")
    for arguments in (["--debug", "run", path], ["run", "--debug", path], ["run", path, "--debug"]):
        with pytest.raises(FilesetError):
            main(arguments)
    assert status(["batch", path, "--debug-nothing"]) == 2
    assert all("--debug" not in p.opts for command in every_command() for p in command.params)


def every_command(command=lnv, ctx=None):
    """Return every command that is no group."""
    ctx = ctx or click.Context(lnv)
    if not isinstance(command, click.Group):
        return [command]
    found = (command.get_command(ctx, name) for name in command.list_commands(ctx))
    return [one for inner in found for one in every_command(inner, ctx)]


# What goes to a file or directory of its own is said so in the place of its value.
PLACES = {"FILE", "DIRECTORY"}


@pytest.mark.parametrize("command", [pytest.param(c, id=f"{c.callback.__module__}.{c.name}") for c in every_command()])
def test_options_talk_alike(command):
    for option in (p for p in command.params if isinstance(p, click.Option)):
        said, name = option.help or "", option.opts[0]
        words = said.partition("  [default: ")[0]
        assert re.match(r"[A-Z|]", words), f"{name}: {said!r} begins with no capital"
        assert words.endswith((".", "]")), f"{name}: {said!r} is no sentence"
        assert "default:" not in words, f"{name}: {said!r} says its default in words; wanted '  [default: …]'"
        place = option.metavar or option.type.name.upper()
        if name == "--output":
            assert place in PLACES, f"{name} takes {place}"
            assert words.split()[0].upper() == place, f"{name} takes {place}, and says {said!r}"
        assert place != "PATH", f"{name}: say FILE or DIRECTORY"
    assert command.help.splitlines()[0].rstrip().endswith((".", ",")) or "\n" in command.help


def test_an_error_of_the_operating_system_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["limits", "--closure", "--output", str(tmp_path / "file" / "deep")]
    assert status(arguments) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.startswith(f"error: {tmp_path / 'file'}")
    assert "name another path" in shown
    with pytest.raises(OSError, match="file"):
        main(["--debug", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "f.json", "--memory", "lots"],
        ["run", "f.json", "--no-workers-timeout", "-1"],
        ["doctor", "--no-workers-timeout", "0"],
        ["run", "f.json", "--pdb"],
        ["run", "f.json", "--executor", "futures", "--memory", "1GiB"],
        ["run", "f.json", "--debug", "--cluster", "slurm"],
        ["run", "f.json", "--executor", "iterative", "--performance-report", "r.html"],
        ["simulate", "--process", "signal", "--cluster", "slurm"],
        ["limits", "--confidence-level", "nan"],
        ["limits", "--closure", "--checks"],
        ["limits", "--closure", "--method", "all"],
        ["limits", "--mixing-power", "2"],
        ["simulate", "--set", "ci", "--events", "10"],
        ["simulate", "--set", "ci", "--mode", "1nu"],
        ["simulate", "--set", "ci", "--process", "signal"],
        ["simulate", "--validate", "--if-missing"],
        ["skim", "a.dst", "--output", "o", "--run-table", "t.json", "--sqrt-s", "3.097"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "3.097", "--all", "--preselection", "control"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "3.097", "--all", "--card", "jpsi_ee"],
        ["plot", "--format", "svg"],
        ["plot", "--allow-stale"],
        ["run", "f.json", "--executor", "iterative", "--workers", "2"],
        ["run", "f.json", "--executor", "futures", "--no-workers-timeout", "9"],
        ["run", "f.json", "--debug", "--workers", "2"],
        ["recast", "d.csv", "--map", "m.parquet", "--seed", "4"],
        ["emc-tables", "a.root", "--datasets", "e*"],
        ["run", "f.json", "--debug", "--executor", "futures"],
        ["limits", "--background", "1", "--background-sigma", "inf"],
        ["optimize", "--n-jpsi", "nan"],
        ["background", "--n-jpsi", "inf"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "nan"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "3.097", "--field", "nan"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "3.097", "--adapt"],
        ["simulate", "--process", "signal", "--majorana", "0.9"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "3097"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "3.097", "--field", "10"],
        ["skim", "a.dst", "--output", "o"],
        ["skim", "a.dst", "--output", "o", "--sqrt-s", "3.097", "--trust-units"],
    ],
)
def test_numbers_that_mean_nothing_are_wrong_usage(arguments, capsys):
    assert status(arguments) == 2
    assert "Error: " in capsys.readouterr().err


def test_wrong_usage_is_status_2(capsys):
    assert status(["nix"]) == 2
    assert status(["run"]) == 2
    assert "Usage" in capsys.readouterr().err
    assert status(["--version"]) == 0


def test_interruption_is_status_130_and_one_line(monkeypatch, capsys):
    monkeypatch.setattr(lnv, "invoke", lambda ctx: (_ for _ in ()).throw(KeyboardInterrupt))
    assert status(["run", "f"]) == 130
    assert capsys.readouterr().err.split() == ["stopped"]


def test_a_table_is_whole_and_safe(monkeypatch, capsys):
    monkeypatch.setattr(console, "console", lambda: Console(width=80, force_terminal=False))
    fields = (Field("name", "name"), Field("n_events", "events", count))
    console.show(Table("title", "title", fields, ({"name": "extra[all]", "n_events": 1234567},)), None)
    shown = capsys.readouterr().out
    assert "extra[all]" in shown
    assert "1\u202f234\u202f567" in shown
    console.show(Table("empty", "empty", fields, ()))


def test_a_bar_counts(capsys):
    with bar("processing", 10) as advance:
        advance(4)
        advance(6)


def test_the_summary_names_what_went_wrong(capsys):
    record = {
        "dataset": "d", "file": "f.root", "start": 0, "stop": 5, "kind": "ValueError", "message": "no", "attempts": 1,
        "is_ours": False,
    }  # fmt: skip
    books = {
        "datasets": {
            "d": {"files": 2, "files_skipped": 0, "events_expected": 10, "events_processed": 5, "events_skipped": 0,
                  "produced_used": 10},
        },
        "totals": {"wall_time_s": 2.0, "cpu_time_s": 1.0, "peak_memory_bytes": {"w": 3e8}, "events_read": 5,
                   "chunks": 2, "bytes_read": 10, "columns_read": ["run"], "events_resumed": 3, "chunks_retried": 1},
        "skipped_files": [{"file": "g.root", "message": "does not exist"}],
        "failed_chunks": [record, record],
        "problems": [f"hole {k}" for k in range(8)],
    }  # fmt: skip
    ledger.print_books(Results({}, {}, books))
    shown = capsys.readouterr().out
    for word in ("INCOMPLETE", "300 MB", "skipped: g.root", "2 chunk(s)", "ValueError: no", "and 3 more", "3 events"):
        assert word in shown


def written_calls():
    """Return (file, words) of every call of `lnv` with options in README, Makefile and documentation."""
    root = Path(__file__).parents[2]
    for path in (root / "README.md", root / "Makefile", *sorted((root / "docs").glob("*.md"))):
        for call in re.findall(r"(?:^|[`\s/])lnv ([a-z][^`\n#]*)", path.read_text()):
            yield pytest.param(call.split(), id=f"{path.name}: {call.strip()}")


@pytest.mark.parametrize("words", list(written_calls()))
def test_documented_calls_have_the_options_they_use(words):
    if words[0] == "batch" and (shared := [k for k, word in enumerate(words) if word in batch.COMMANDS]):
        # What follows is a call of its own.
        words, passed_on = words[: shared[0]], words[shared[0] :]
        test_documented_calls_have_the_options_they_use(passed_on)
    command = lnv.get_command(click.Context(lnv), words[0].rstrip(".,;:)"))
    assert command is not None
    if isinstance(command, click.Group) and words[1:] and words[1] in command.commands:
        command = command.commands[words[1]]
    known = {option for parameter in command.params for option in parameter.opts}
    used = {word.rstrip(".,;:)") for word in words if word.startswith("--")}
    assert used <= known | {"--help"}
