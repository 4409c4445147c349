"""The configuration: which source wins, what a wrong value is told, what the help explains."""

from pathlib import Path

import pytest

from pixwire_server import cli
from pixwire_server.cli import build_parser
from pixwire_server.config import ConfigError, ServerConfig, describe_fields, load
from pixwire_server.config_values import NamedFolder
from pixwire_server.doors.address import TcpAddress, UnixAddress
from pixwire_server.doors.http.address import HttpAddress

FIELDS = describe_fields()


@pytest.fixture(autouse=True)
def _no_foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", *(field.variable.removeprefix("PIXWIRE_") for field in FIELDS.values())):
        monkeypatch.delenv(f"PIXWIRE_{name}", raising=False)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text('max_rows = 3\nlisten = ["127.0.0.1:1", "pixwire+unix:///tmp/a"]\nexact = true\n')
    return path


@pytest.mark.req("PXW-SEC-001")
def test_defaults_hold_without_any_source_and_are_local() -> None:
    config = load({})
    assert all(address.is_local for address in config.listen)
    assert config.listen == (TcpAddress("127.0.0.1", 7499),)
    assert config.model == ()
    assert config.admins == ()
    assert config.data_dir.is_absolute()


@pytest.mark.parametrize(
    ("flag", "variable", "key", "expected"),
    [
        (None, None, None, ServerConfig().max_rows),
        (None, None, "3", 3),
        (None, "4", "3", 4),
        ("5", "4", "3", 5),
        ("5", None, None, 5),
        (None, "4", None, 4),
    ],
)
def test_flags_win_over_environment_over_file_over_defaults(
    flag: str | None,
    variable: str | None,
    key: str | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"max_rows = {key}\n" if key else "")
    if variable:
        monkeypatch.setenv("PIXWIRE_MAX_ROWS", variable)
    assert load({"max_rows": flag} if flag else {}, str(path)).max_rows == expected


def test_the_file_may_be_named_by_the_environment(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXWIRE_CONFIG", str(toml))
    config = load({})
    assert (config.max_rows, config.exact) == (3, True)
    assert config.listen == (TcpAddress("127.0.0.1", 1), UnixAddress("/tmp/a"))


def test_several_addresses_by_flags_and_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = vars(build_parser().parse_args(["--listen", "127.0.0.1:1", "--listen", "[::1]:2,localhost:3"]))
    assert load(flags).listen == (TcpAddress("127.0.0.1", 1), TcpAddress("::1", 2), TcpAddress("localhost", 3))
    monkeypatch.setenv("PIXWIRE_LISTEN", "127.0.0.1:4,127.0.0.1:5")
    assert [address.url for address in load({}).listen] == ["pixwire://127.0.0.1:4", "pixwire://127.0.0.1:5"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"max_resident": "-1"}, "max_resident = '-1' (from --max-resident) cannot be used; allowed: an integer from"),
        ({"exact": "perhaps"}, "exact = 'perhaps' (from --exact) cannot be used; allowed: true | false"),
        ({"device": "gpu"}, "device = 'gpu' (from --device) cannot be used; allowed: auto | cpu | cuda"),
        ({"drain_grace_s": "nan"}, "drain_grace_s = 'nan' (from --drain-grace-s)"),
        ({"max_rows": "many"}, "max_rows = 'many' (from --max-rows) cannot be used; allowed: an integer from"),
        ({"listen": ["http://x"]}, "'http://x' has a scheme this door does not speak"),
        ({"listen": ["pixwire+unix://relative"]}, "needs an absolute path"),
        (
            {"model": "/nowhere/at/all"},
            "model = '/nowhere/at/all' (from --model) cannot be used: there is no such folder",
        ),
        ({"data_dir": ""}, "data_dir = '' (from --data-dir) cannot be used: a path is needed"),
        ({"data_dir": "a\0b"}, "(from --data-dir) cannot be used: no path has a zero byte"),
        (
            {"data_dir": "~nobody-here/x"},
            "data_dir = '~nobody-here/x' (from --data-dir) cannot be used: there is no",
        ),
        ({"listen": ["pixwire+unix:///a%00b"]}, "has a zero byte"),
        ({"tokens": "a" * 300}, "(from --tokens) cannot be used: File name too long"),
        ({"models_dir": "a" * 300}, "(from --models-dir) cannot be used: File name too long"),
        ({"model": "a" * 300}, "(from --model) cannot be used: File name too long"),
        ({"model": "b=" + "a" * 300}, "(from --model) cannot be used: File name too long"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_what_is_allowed(flags: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(flags)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_wrong_value_gets_its_own_line_and_source(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text("max_rows = 0\n")
    monkeypatch.setenv("PIXWIRE_THREADS", "-1")
    with pytest.raises(ConfigError) as caught:
        load({"log_level": "loud"}, str(toml))
    text = str(caught.value)
    assert len(text.splitlines()) == 3
    for part in (f"max_rows in {toml}", "PIXWIRE_THREADS", "--log-level"):
        assert part in text


def test_a_model_folder_needs_an_index(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no model_index\.json"):
        load({"model": str(tmp_path)})
    (tmp_path / "model_index.json").write_text("{}")
    assert load({"model": str(tmp_path)}).model == (NamedFolder(tmp_path),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("max_row = 1\n", "did you mean 'max_rows'?"),
        ("[server]\nmax_rows = 1\n", "unknown key 'server'"),
        ("max_rows = \n", "is not TOML"),
        (f"max_rows = {'9' * 5000}\n", "is not TOML"),
        (f"max_rows = {'[' * 100_000}\n", "is not TOML"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_bad_file_is_refused_with_a_reason(content: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load({}, str(path))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_in_the_home_of_nobody_is_refused_with_a_reason() -> None:
    with pytest.raises(ConfigError, match="the configuration file '~nobody-here/x' cannot be used: there is no home"):
        load({}, "~nobody-here/x")


def test_without_a_home_the_data_need_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def expanduser(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)
    with pytest.raises(ConfigError, match=r"data_dir = .* \(from the default\) cannot be used: .*write the whole path"):
        load({})


def test_an_unknown_variable_of_the_same_prefix_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXWIRE_URL", "pixwire://elsewhere")
    assert load({}) == ServerConfig()


def test_bad_configuration_ends_with_code_2_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--max-resident", "-1"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("pixwire serve: max_resident")
    assert "Traceback" not in output.err


def test_an_unknown_flag_ends_with_code_2_and_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--max-residents=3"])
    assert caught.value.code == 2
    assert "did you mean '--max-resident'" in capsys.readouterr().err


def test_help_explains_every_field_with_allowed_values_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in FIELDS.values():
        assert field.flag in text
        assert field.description in text
        assert field.group in text
    assert "examples:" in text


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(["--exact"], True), (["--exact", "true"], True), (["--exact=false"], False), (["--no-exact"], False), ([], True)],
)
def test_a_switch_may_be_bare_or_have_a_value(
    flags: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXWIRE_EXACT", "true")
    assert load(vars(build_parser().parse_args(flags))).exact is expected


# ---------------------------------------------------------------------- what does not go together


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files that are there; what is in them is looked at when the server starts."""
    named = {name: tmp_path / name for name in ("tls_cert", "tls_key", "tls_client_ca", "tokens")}
    for path in named.values():
        path.write_text("x")
    return {name: str(path) for name, path in named.items()}


@pytest.mark.parametrize(
    ("names", "flags", "says"),
    [
        ((), {"listen": "pixwires://h"}, "listen = pixwires://h:7499 needs tls_cert and tls_key"),
        (
            (),
            {"listen": "h:1,h:1"},
            "listen = pixwire://h:1, pixwire://h:1 and http = none: an address stands",
        ),
        ((), {"listen": "h:1", "http": "h:1"}, "listen = pixwire://h:1 and http = http://h:1: an address stands there"),
        ((), {"http": "https://h:1"}, "http = https://h:1 needs tls_cert and tls_key"),
        (("tokens",), {"http": "h:1"}, "tokens would cross the network readable on http = http://h:1; use https://"),
        (("tls_cert",), {"listen": "pixwires://h"}, "needs tls_cert and tls_key"),
        (("tls_cert", "tls_key"), {}, "are for pixwires:// addresses, and listen has none"),
        (("tls_client_ca",), {}, "are for pixwires:// addresses, and listen has none"),
        pytest.param(
            ("tokens",),
            {"listen": "0.0.0.0,127.0.0.1:1"},
            "tokens would cross the network readable on listen = pixwire://0.0.0.0:7499; use pixwires://",
            marks=pytest.mark.req("PXW-AUT-017"),
        ),
        ((), {"admins": "alice"}, "admins is for principals that are proved, and there are neither tokens nor"),
        (("tls_cert", "tls_key"), {"listen": "pixwires://h", "admins": "alice"}, "admins is for principals"),
        ((), {"retain_s": "10", "dedupe_s": "9.5"}, "dedupe_s = 9.5 is shorter than retain_s = 10"),
        ((), {"max_upload_bytes": "2000000", "upload_bytes": "1000000"}, "max_upload_bytes = 2000000 is more than"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    files: dict[str, str], names: tuple[str, ...], flags: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load({**flags, **{name: files[name] for name in names}})
    assert says in str(caught.value)


@pytest.mark.req("PXW-AUT-017")
@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (("tokens",), {"listen": "127.0.0.1,[::1]:1,localhost:2,pixwire+unix:///tmp/s"}),
        (("tokens",), {"listen": "0.0.0.0", "allow_insecure_auth": "true"}),
        (("tokens", "tls_cert", "tls_key"), {"listen": "pixwires://0.0.0.0"}),
        (("tls_cert", "tls_key", "tls_client_ca"), {"listen": "pixwires://0.0.0.0,127.0.0.1"}),
        (("tokens", "tls_cert", "tls_key"), {"http": "https://h:1,8080"}),
        (("tokens",), {"listen": "127.0.0.1:0,127.0.0.1:0", "http": "0"}),
    ],
)
def test_tokens_and_certificates_where_they_are_safe_or_allowed(
    files: dict[str, str], names: tuple[str, ...], flags: dict[str, str]
) -> None:
    config = load({**flags, **{name: files[name] for name in names}})
    assert (config.tokens is not None) == ("tokens" in names)


@pytest.mark.parametrize("name", ["tls_cert", "tls_key", "tls_client_ca", "tokens"])
def test_a_file_that_is_not_there_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name} = '/nowhere' .*cannot be used: there is no such file"):
        load({name: "/nowhere"})
    with pytest.raises(ConfigError, match="this is a folder"):
        load({name: str(tmp_path)})


def test_http_addresses_come_from_flags_variables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.toml"
    path.write_text("http = 8080\n")
    assert load({}).http == ()
    assert load({}, str(path)).http == (HttpAddress("127.0.0.1", 8080),)
    monkeypatch.setenv("PIXWIRE_HTTP", "1,https://h:2")
    assert [address.url for address in load({"tls_cert": str(path), "tls_key": str(path)}, str(path)).http] == [
        "http://127.0.0.1:1",
        "https://h:2",
    ]
    with pytest.raises(
        ConfigError, match=r"http = 'h' \(from --http\) cannot be used: 'h' is not an address with a port"
    ) as refused:
        load({"http": "h"})
    assert str(refused.value).count("https://host:port") == 1, "what is allowed is said once"


def test_admins_are_names_of_principals(files: dict[str, str]) -> None:
    assert load({"tokens": files["tokens"], "admins": ["alice, bob@x", "carol"]}).admins == ("alice", "bob@x", "carol")
    for wrong in ("", "alice,,bob", "a\x1bb", "x" * 257, [7]):
        with pytest.raises(ConfigError, match=r"admins = .* cannot be used.*; allowed: names of 1 to 256 bytes"):
            load({"tokens": files["tokens"], "admins": wrong})


def test_the_share_of_one_principal_is_the_whole_queue_unless_it_is_said() -> None:
    assert load({}).principal_queue_limit is None
    assert load({"principal_queue_limit": "7"}).principal_queue_limit == 7
    with pytest.raises(ConfigError, match="allowed: an integer from 1 to 1000000"):
        load({"principal_queue_limit": "0"})


def test_help_begins_with_a_line_that_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    assert capsys.readouterr().out.startswith("usage: pixwire serve [OPTION VALUE]...\n")
