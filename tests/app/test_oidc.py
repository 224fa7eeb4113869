"""Signing in through an identity provider: a real one in miniature, honest and dishonest."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import OctKey

from app.auth import Identity, Role
from app.auth.identities import account_name, role_of
from app.auth.oidc import DOUBTFUL, REFUSED, UNREACHABLE
from app.errors import InvalidInput, NotAllowed
from app.settings import Secret, Settings
from app.web.oidc_routes import BUTTON, COOKIE, LINKED, STALE, UNLOCKED
from app.web.server import GRADIO_ENVIRONMENT, create_app
from app.web.session import SESSION
from tests.app import identity_provider as fake
from tests.app import web_world as kit

DEFAULTS = {"oidc_client_id": fake.CLIENT, "oidc_client_secret": Secret(fake.SECRET)}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake.Provider]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with fake.provider() as made:
        yield made


@pytest.fixture
def world(
    tmp_path: Path, provider: fake.Provider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    made = kit.world(tmp_path / "work", oidc_issuer=provider.issuer, **DEFAULTS)
    yield kit.with_people(made)
    made.store.close()


def browser(world: Any) -> Any:
    return kit.browser(create_app(world, ()))


def go(client: Any, start: str = "/login/oidc") -> Any:
    """Follow the way to the provider and back; the answer of our callback."""
    left = client.get(start, headers=kit.PAGE)
    assert left.status_code == 303, left.text
    sent = httpx.get(left.headers["location"], trust_env=False)
    assert sent.status_code == 302
    back = urlsplit(sent.headers["location"])
    return client.get(f"{back.path}?{back.query}", headers=kit.PAGE)


def text(response: Any) -> str:
    """What a page says."""
    return html.unescape(response.text)


def who(client: Any, world: Any) -> Any:
    return world.accounts.user_of_session(client.cookies.get(SESSION))


def test_without_a_provider_there_is_nothing(tmp_path: Path) -> None:
    made = kit.with_people(kit.world(tmp_path / "work"))
    client = browser(made)
    assert BUTTON not in client.get("/login").text
    assert client.get("/login/oidc").status_code == 404
    assert client.get("/login/oidc/callback?code=x&state=y").status_code == 404
    made.store.close()


def test_the_first_login_makes_an_account_and_the_second_finds_it(
    world: Any, provider: fake.Provider
) -> None:
    client = browser(world)
    assert BUTTON in client.get("/login?next=/app/%3Fcase%3Dc1").text
    provider.person["name"] = "Dr  Carol"
    done = go(client, "/login/oidc?next=/app/%3Fcase%3Dc1")
    assert done.status_code == 200 and "url=/app/?case=c1" in done.text
    user = who(client, world)
    assert (user.name, user.display, user.role) == ("carol", "Dr Carol", Role.OBSERVER)
    assert COOKIE not in client.cookies
    account = world.store.account("carol")
    assert account.subject == f"{provider.issuer} s-1" and account.password_hash == ""
    assert not account.must_change
    again = browser(world)
    provider.person["preferred_username"] = "renamed"
    go(again)
    assert who(again, world).name == "carol" and len(world.store.accounts()) == 3
    rows = [(e.who, e.action, e.detail.get("by")) for e in world.store.audit(3)]
    assert rows[0] == ("carol", "sign in", "oidc") and ("carol", "create account", "oidc") in rows


def test_no_password_opens_an_account_that_has_none(world: Any) -> None:
    go(browser(world))
    for password in ("", "no account has this password"):
        refused = kit.sign_in(browser(world), "carol", password)
        assert refused.status_code in (401, 429) and "not right" in refused.text


def test_the_session_cookie_is_strict_and_the_way_there_is_lax_and_short(world: Any) -> None:
    client = browser(world)
    left = client.get("/login/oidc", headers=kit.PAGE)
    cookie = left.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/login/oidc" in cookie
    assert "Max-Age=600" in cookie
    asked = parse_qs(urlsplit(left.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["nonce"][0] and asked["state"][0]
    assert asked["redirect_uri"] == [f"{kit.HOME}/login/oidc/callback"]
    sent = httpx.get(left.headers["location"], trust_env=False).headers["location"]
    kept = client.get(sent.removeprefix(kit.HOME)).headers.get_list("set-cookie")
    strict = next(each for each in kept if each.startswith(SESSION))
    assert "SameSite=strict" in strict and "HttpOnly" in strict


def test_an_answer_without_its_beginning_is_refused(world: Any) -> None:
    one, two = browser(world), browser(world)
    left = one.get("/login/oidc", headers=kit.PAGE)
    sent = httpx.get(left.headers["location"], trust_env=False).headers["location"]
    path = sent.removeprefix(kit.HOME)
    stolen = two.get(path, headers=kit.PAGE)
    assert stolen.status_code == 403 and STALE in stolen.text and who(two, world) is None
    two.get("/login/oidc", headers=kit.PAGE)
    mixed = two.get(path, headers=kit.PAGE)
    assert mixed.status_code == 403 and DOUBTFUL in text(mixed) and who(two, world) is None
    assert one.get(path, headers=kit.PAGE).status_code == 200
    replayed = one.get(path, headers=kit.PAGE)
    assert replayed.status_code == 403 and STALE in replayed.text


def test_a_refusal_at_the_provider_is_a_sentence(world: Any) -> None:
    client = browser(world)
    left = client.get("/login/oidc", headers=kit.PAGE)
    state = parse_qs(urlsplit(left.headers["location"]).query)["state"][0]
    told = client.get(f"/login/oidc/callback?error=access_denied&error_description=x&state={state}")
    assert told.status_code == 403 and told.json()["error"] == REFUSED


LIES: tuple[dict[str, Any], ...] = (
    {"iss": "https://elsewhere.example"},
    {"aud": "another-client"},
    {"aud": [fake.CLIENT, "another-client"], "azp": "another-client"},
    {"nonce": "another"},
    {"nonce": None},
    {"exp": 1_000_000_000},
    {"exp": None},
    {"iat": 99_999_999_999},
    {"sub": None},
    {"sub": ""},
    {"sub": 7},
    {"at_hash": "AAAA"},
)


def test_a_false_identity_token_is_refused(world: Any, provider: fake.Provider) -> None:
    client = browser(world)
    for lie in LIES:
        provider.lies = lie
        told = go(client)
        assert told.status_code == 403 and DOUBTFUL in text(told), lie
        assert who(client, world) is None and world.store.account("carol") is None


def test_a_token_signed_by_somebody_else_is_refused(world: Any, provider: fake.Provider) -> None:
    provider.signer = provider.other
    assert DOUBTFUL in text(go(browser(world)))
    provider.signer, provider.algorithm = OctKey.import_key("x" * 40), "HS256"
    assert DOUBTFUL in text(go(browser(world)))
    assert world.store.account("carol") is None


def test_a_provider_that_describes_itself_wrongly_is_refused(
    world: Any, provider: fake.Provider
) -> None:
    client = browser(world)
    for wrong in (
        {"issuer": "https://elsewhere.example"},
        {"authorization_endpoint": "http://elsewhere.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
    ):
        provider.description = wrong
        told = client.get("/login/oidc")
        assert told.status_code == 403 and told.json()["error"] == DOUBTFUL, wrong


def test_a_wrong_client_secret_or_a_provider_that_is_away_is_a_sentence(
    world: Any, provider: fake.Provider
) -> None:
    client = browser(world)
    world.settings = replace(world.settings, oidc_client_secret=Secret("wrong"))
    assert DOUBTFUL in text(go(browser(world)))
    world.settings = replace(world.settings, oidc_issuer="http://127.0.0.1:1")
    client = browser(world)
    away = client.get("/login/oidc")
    assert away.status_code == 403 and away.json()["error"] == UNREACHABLE
    assert kit.sign_in(client, "bob").status_code == 303, "passwords go on working"


def test_the_role_comes_from_the_claim_and_follows_it(world: Any, provider: fake.Provider) -> None:
    world.settings = replace(world.settings, oidc_role_claim="realm_access.roles")
    provider.person["realm_access"] = {"roles": ["staff", "Lightbox-Organiser", "reader"]}
    client = browser(world)
    go(client)
    assert who(client, world).role is Role.ORGANISER
    provider.person["realm_access"] = {"roles": ["observer"]}
    go(client)
    assert who(client, world).role is Role.OBSERVER
    changed = next(e for e in world.store.audit(5) if e.action == "change role")
    assert changed.detail == {"before": "organiser", "to": "observer"}
    provider.person.pop("realm_access")
    go(client)
    assert who(client, world).role is Role.OBSERVER, "no statement changes nothing"


def test_people_without_a_role_can_be_kept_out(world: Any, provider: fake.Provider) -> None:
    world.settings = replace(world.settings, oidc_default_role="none", oidc_role_claim="roles")
    client = browser(world)
    told = go(client)
    assert told.status_code == 403 and "no role" in told.text and who(client, world) is None
    assert world.store.audit(1)[0].result == "refused"
    provider.person["roles"] = "reader"
    go(client)
    assert who(client, world).role is Role.READER


def test_a_name_that_is_taken_is_linked_by_its_owner_only(
    world: Any, provider: fake.Provider
) -> None:
    provider.person["preferred_username"] = "bob"
    client = browser(world)
    told = go(client)
    assert told.status_code == 403 and "exists already" in told.text and who(client, world) is None
    assert client.get("/login/oidc?for=link").status_code == 401
    kit.sign_in(client, "bob")
    assert "for=link" in client.get("/password", headers=kit.PAGE).text
    assert LINKED in go(client, "/login/oidc?for=link").text
    other = browser(world)
    go(other)
    assert who(other, world).name == "bob" and who(other, world).role is Role.READER
    third = browser(world)
    kit.sign_in(third, "ann")
    assert "another account" in go(third, "/login/oidc?for=link").text
    assert world.store.account("ann").subject is None


def test_a_locked_screen_is_unlocked_by_the_provider(world: Any, provider: fake.Provider) -> None:
    client = browser(world)
    go(client)
    client.post("/lock", json={})
    page = client.get("/app/", headers=kit.PAGE)
    assert page.status_code == 423 and "for=unlock" in page.text and "password" not in page.text
    provider.person = {"sub": "s-2", "preferred_username": "dave"}
    wrong = go(client, "/login/oidc?for=unlock")
    assert wrong.status_code == 403 and client.get("/session").json()["locked"]
    provider.person = {"sub": "s-1"}
    assert UNLOCKED in go(client, "/login/oidc?for=unlock").text
    assert not client.get("/session").json()["locked"] and who(client, world).name == "carol"


def test_a_deactivated_account_stays_out(world: Any) -> None:
    client = browser(world)
    go(client)
    world.accounts.deactivate(world.accounts.authenticate("ann", kit.GOOD, ""), "carol")
    assert who(client, world) is None
    told = go(client)
    assert told.status_code == 403 and "deactivated" in told.text and who(client, world) is None


def test_the_provider_makes_no_first_administrator(tmp_path: Path, provider: fake.Provider) -> None:
    made = kit.world(tmp_path / "empty", oidc_issuer=provider.issuer, **DEFAULTS)
    told = go(browser(made))
    assert told.status_code == 403 and not made.accounts.has_accounts()
    made.store.close()


def test_the_last_administrator_stays_one(world: Any) -> None:
    world.store.set_subject("ann", "https://p.example s-9")
    claimed = Identity("https://p.example", "s-9", "ann", "Ann", Role.READER)
    assert world.accounts.authenticate_identity(claimed, None).role is Role.ADMINISTRATOR


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("Carol@clinic.example", "carol"),
        ("  Dr. Müller ", "dr.-m-ller"),
        ("reader", ""),
        ("安", ""),
        ("", ""),
        ("x" * 300, "x" * 63),
        ("../../etc", "etc"),
    ],
)
def test_names_of_accounts(stated: str, name: str) -> None:
    assert account_name(stated) == name


@pytest.mark.parametrize(
    ("claims", "path", "role"),
    [
        ({"roles": ["reader"]}, "roles", Role.READER),
        ({"roles": "observer, organiser"}, "roles", Role.ORGANISER),
        ({"https://x.example/roles": ["lightbox:reader"]}, "https://x.example/roles", Role.READER),
        ({"a": {"b": ["ADMINISTRATOR"]}}, "a.b", Role.ADMINISTRATOR),
        ({"roles": ["reader"]}, "", None),
        ({"roles": ["superreader", 7, None]}, "roles", None),
        ({"roles": {"reader": True}}, "roles", None),
        ({"a": "b"}, "a.b.c", None),
        ({}, "roles", None),
    ],
)
def test_roles_of_claims(claims: dict[str, Any], path: str, role: Role | None) -> None:
    assert role_of(claims, path) is role


def test_settings_of_a_provider(tmp_path: Path) -> None:
    stated = {"oidc_issuer": "https://login.example/realms/a", "oidc_client_id": "lightbox"}
    given = {"workspace": tmp_path, **stated, "oidc_client_secret": "very secret"}
    found = Settings.load(given, environ={})
    assert found.has_provider and found.oidc_default_role == "observer"
    assert "very secret" not in repr(found)
    assert not Settings.load({"workspace": tmp_path}, environ={}).has_provider
    for wrong in (
        {"oidc_issuer": "http://login.example"},
        {"oidc_issuer": "https://a:b@login.example"},
        {"oidc_issuer": "login.example"},
        {"oidc_default_role": "administrator"},
        {"public_url": "ftp://x"},
    ):
        with pytest.raises(InvalidInput):
            Settings.load({"workspace": tmp_path, **stated, **wrong}, environ={})
    with pytest.raises(InvalidInput, match="need each other"):
        Settings.load({"workspace": tmp_path, "oidc_client_id": "x"}, environ={})


def test_the_public_address_is_known_and_used(world: Any, provider: fake.Provider) -> None:
    world.settings = replace(world.settings, public_url="https://lightbox.example")
    client = kit.browser(create_app(world, ()), base="https://lightbox.example")
    left = client.get("/login/oidc", headers=kit.PAGE)
    asked = parse_qs(urlsplit(left.headers["location"]).query)
    assert asked["redirect_uri"] == ["https://lightbox.example/login/oidc/callback"]
    assert "Secure" in left.headers["set-cookie"]


def test_nobody_links_without_signing_in(world: Any) -> None:
    identity = Identity("https://p.example", "s", "x", "X")
    with pytest.raises(NotAllowed):
        world.accounts.link_identity(None, identity)
