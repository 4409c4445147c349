"""The tokens file: what it may say, what a wrong one is told, and that a token itself is kept nowhere."""

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pixwire_server.doors.access import Access
from pixwire_server.doors.tokens import Tokens, TokensError, entry_for, new_token, parse_tokens

DIGEST = hashlib.sha256(b"secret").hexdigest()
GOOD = f'[[token]]\nprincipal = "alice"\nsha256 = "{DIGEST}"\n'


def test_a_token_is_found_by_its_digest_and_has_its_expiry(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(f"{GOOD}expires = 2027-01-01T00:00:00Z\n\n{entry_for('bob', 'other')}\n")
    tokens = Tokens(path)
    found = tokens.find("secret")
    assert found is not None
    assert found.principal == "alice"
    end = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    assert (found.expired(end - 1), found.expired(end)) == (False, True)
    bob = tokens.find("other")
    assert bob is not None
    assert (bob.principal, bob.expired(1e18)) == ("bob", False)
    assert tokens.find("neither") is None
    assert tokens.find("") is None


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("2027-01-01T02:00:00+02:00", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T00:00:00", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_date_of_any_kind_in_utc_unless_it_says_otherwise(text: str, expires: datetime) -> None:
    (token,) = parse_tokens(f"{GOOD}expires = {text}\n", "t")
    assert token.expires == expires.timestamp()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"t holds no \[\[token\]\]; make one with `python -m pixwire_server token PRINCIPAL`"),
        ("[[token]\n", "t is not TOML: .*line 1"),
        (f"token = {'9' * 5000}\n", "t is not TOML: "),
        (f"token = {'[' * 100_000}\n", "t is not TOML: "),
        ("tokens = []\n", "t: unknown key 'tokens'"),
        ('token = "x"\n', r"t: token must be a list of tables; write \[\[token\]\] above each one"),
        (f'# mine\n\n[[token]]\nsha256 = "{DIGEST}"\n', "t, line 3: principal must be .* it is missing"),
        (f'[[token]]\nprincipal = ""\nsha256 = "{DIGEST}"\n', "t, line 1: principal must be a text of 1 to 256 bytes"),
        (f'{GOOD}\n[[token]]\nprincipal = 7\nsha256 = "{DIGEST}"\n', "t, line 5: principal must be .* it is 7"),
        (
            f'[[token]]\nprincipal = "a\\u001bb"\nsha256 = "{DIGEST}"\n',
            r"t, line 1: principal 'a\\x1bb' holds characters that cannot be printed",
        ),
        ('[[token]]\nprincipal = "a"\n', "t, line 1: sha256 of 'a' must be 64 lower-case hexadecimal digits"),
        (f'[[token]]\nprincipal = "a"\nsha256 = "{DIGEST.upper()}"\n', "must be 64 lower-case hexadecimal digits"),
        (f'{GOOD}token = "pxw_x"\n', "t, line 1: unknown key 'token'.*never stands in this file"),
        (f"{GOOD}expires = 7\n", "t, line 1: expires must be a date such as 2027-01-01T00:00:00Z, it is 7"),
        (f'{GOOD}roles = ["boss"]\n', r"t, line 1: roles must be a list with some of admin, it is \['boss'\]"),
        (f'{GOOD}roles = "admin"\n', "t, line 1: roles must be a list with some of admin, it is 'admin'"),
        (f"{GOOD}roles = [[]]\n", "t, line 1: roles must be a list"),
        (f"{GOOD}{GOOD}", "t, line 4: sha256 is that of the token of 'alice', too"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_field(text: str, says: str) -> None:
    with pytest.raises(TokensError, match=f"(?s){says}"):
        parse_tokens(text, "t")


@pytest.mark.req("PXW-AUT-020")
def test_a_token_pasted_for_its_digest_is_not_repeated() -> None:
    with pytest.raises(TokensError) as caught:
        parse_tokens('[[token]]\nprincipal = "a"\nsha256 = "pxw_the-token-itself"\n', "t")
    assert "itself" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=r"none\.toml cannot be read: No such file"):
        Tokens(tmp_path / "none.toml")


def test_a_reload_takes_the_new_list_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(GOOD)
    tokens = Tokens(path)
    path.write_text("[[token]]\n")
    with pytest.raises(TokensError):
        tokens.reload()
    assert tokens.find("secret")
    path.write_text(entry_for("bob", "other"))
    tokens.reload()
    assert tokens.find("secret") is None
    assert tokens.find("other")


def test_expired_tokens_are_named_at_the_start_and_no_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(entry_for("bob", "other") + f"\n{GOOD}expires = 2020-01-01\n")
    with caplog.at_level(logging.WARNING, "pixwire_server"):
        Access(path, None)
    assert [record.getMessage() for record in caplog.records] == ["1 of 2 tokens have expired and are refused: 'alice'"]


@pytest.mark.parametrize("principal", ["alice", 'a "quoted" \\ name', "Zoë ✨"])
def test_a_new_token_and_its_entry_belong_together(principal: str) -> None:
    token = new_token()
    expires = datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC)
    entry = entry_for(principal, token, expires)
    assert token not in entry
    (parsed,) = parse_tokens(entry, "t")
    assert (parsed.principal, parsed.expires) == (principal, expires.timestamp())
    assert parsed.digest == hashlib.sha256(token.encode()).digest()
    assert new_token() != token


def test_roles_are_those_of_the_entry() -> None:
    entry = entry_for("alice", "secret", roles=["admin"])
    assert entry.endswith('roles = ["admin"]')
    (token,) = parse_tokens(entry, "t")
    assert token.roles == ("admin",)
    (twice,) = parse_tokens(f'{GOOD}roles = ["admin", "admin"]\n', "t")
    assert twice.roles == ("admin",)
    (plain,) = parse_tokens(f"{GOOD}roles = []\n", "t")
    assert plain.roles == ()


@pytest.mark.req("PXW-AUT-018")
@pytest.mark.req("PXW-AUT-019")
def test_every_entry_is_compared_and_only_digests_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text("\n".join(entry_for(f"p{n}", f"secret-{n}") for n in range(5)))
    tokens = Tokens(path)
    compared: list[tuple[bytes, bytes]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr("pixwire_server.doors.tokens.hmac.compare_digest", compare)
    for token in ("secret-0", "secret-4", "none of them"):
        compared.clear()
        tokens.find(token)
        assert [len(side) for pair in compared for side in pair] == [32] * 10
    assert "secret-" not in repr(vars(tokens))
