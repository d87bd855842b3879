"""Database URLs: what is accepted, what is refused, and that nothing is lost on the way to a driver."""

from __future__ import annotations

import string

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from migrations_audit.engine import urls

SECRET = "hunter2-s3cret"

printable = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)
characters = string.ascii_letters + string.digits + " _-+'\"äß/:[]"
users = st.text(characters + "@%?#", min_size=1, max_size=30)
databases = st.text(characters, min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("scheme", "driver"),
    [
        ("postgresql", ""),
        ("postgres", ""),
        ("postgresql+psycopg2", "psycopg2"),
        ("postgresql+psycopg", "psycopg"),
        ("postgresql+asyncpg", "asyncpg"),
        ("PostgreSQL+PSYCOPG2", "psycopg2"),
    ],
)
def test_every_common_scheme_is_understood(scheme: str, driver: str) -> None:
    url = urls.parse(f"{scheme}://u:{SECRET}@db.example:6432/orders")

    assert (url.driver, url.host, url.port, url.database, url.user) == (driver, "db.example", 6432, "orders", "u")
    assert url.password == SECRET


def test_the_port_is_postgresqls_when_none_is_given() -> None:
    assert urls.parse("postgresql://u@h/d").port == 5432


@pytest.mark.parametrize(
    ("place", "host"),
    [("[2001:DB8::1]:6000", "2001:db8::1"), ("DB.Example", "db.example"), ("10.0.0.1", "10.0.0.1"), ("db_1", "db_1")],
)
def test_hosts_are_told_in_one_form(place: str, host: str) -> None:
    assert urls.parse(f"postgresql://u@{place}/d").host == host


def test_percent_encoding_is_taken_off_once() -> None:
    url = urls.parse("postgresql://a%40b:p%25%2F%3A%40@h/my%20db")

    assert (url.user, url.password, url.database) == ("a@b", "p%/:@", "my db")


def test_a_colon_in_a_password_needs_no_encoding() -> None:
    assert urls.parse("postgresql://u:a:b@h/d").password == "a:b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        f"host=db password={SECRET}",
        f"mysql://u:{SECRET}@h/d",
        f"jdbc:postgresql://u:{SECRET}@h/d",
        f"postgresql+pygresql://u:{SECRET}@h/d",
        f"{SECRET}://u@h/d",
        f"postgresql://u:{SECRET}@/d",
        f"postgresql://u:{SECRET}@%2Fvar%2Frun/d",
        f"postgresql://u:{SECRET}@/d?host=/var/run",
        f"postgresql://u:{SECRET}@a,b/d",
        f"postgresql://u:{SECRET}@a:1,b:2/d",
        f"postgresql://u:{SECRET}@h:0/d",
        f"postgresql://u:{SECRET}@h:65536/d",
        f"postgresql://u:{SECRET}@h:/d",
        f"postgresql://u:{SECRET}@h:٣/d",
        f"postgresql://u:{SECRET}@h:{SECRET}/d",
        f"postgresql://u:{SECRET}@h",
        f"postgresql://u:{SECRET}@h/",
        f"postgresql://:{SECRET}@h/d",
        "postgresql://h/d",
        f"postgresql://u:{SECRET}@x@h/d",
        f"postgresql://u:a/{SECRET}@h/d",
        f"postgresql://u:a#{SECRET}@h/d",
        f"postgresql://u:a?{SECRET}@h/d",
        f"postgresql://u:%{SECRET}@h/d",
        f"postgresql://u:%zz{SECRET}@h/d",
        f"postgresql://u:%ff{SECRET}@h/d",
        f"postgresql://u:%00{SECRET}@h/d",
        f"postgresql://u:%0a{SECRET}@h/d",
        f"postgresql://u:{SECRET}\x00@h/d",
        f"postgresql://u:{SECRET}@h/d\n",
        f" postgresql://u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}\udcff@h/d",
        f"postgresql://u:{SECRET}@h/d%00",
        f"postgresql://u:{SECRET}@h/a%3Fb",
        f"postgresql://u:{SECRET}@h/a%40b",
        f"postgresql://u:{SECRET}@h..x/d",
        f"postgresql://u:{SECRET}@-h/d",
        f"postgresql://u:{SECRET}@hä/d",
        f"postgresql://u:{SECRET}@[::1/d",
        f"postgresql://u:{SECRET}@[::1]x/d",
        f"postgresql://u:{SECRET}@[h]/d",
        f"postgresql://u:{SECRET}@{'a' * 64}/d",
        f"postgresql://u:{SECRET}@h/{'d' * 64}",
        f"postgresql://{'ä' * 32}:{SECRET}@h/d",
        f"postgresql://u:{SECRET * 100}@h/d",
        f"postgresql://u:{SECRET}@h/d?" + "a" * urls.MAX_URL,
    ],
)
def test_a_url_that_is_not_one_server_and_database_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(urls.InvalidUrl) as caught:
        urls.parse(text)

    assert SECRET not in str(caught.value)
    assert caught.value.message.endswith((".", "…"))


@pytest.mark.parametrize(
    "query",
    [
        "options=-c%20search_path%3Devil",
        "service=prod",
        "passfile=/x",
        "password=p",
        "host=other",
        "hostaddr=10.0.0.1",
        "port=1",
        "user=u",
        "dbname=x",
        "target_session_attrs=any",
        "application_name=x",
        "sslmode=",
        "sslmode=no",
        "sslmode=require&sslmode=disable",
        "sslmode=require&SSLMODE=disable",
        "ssl=require",
        "sslrootcert=relative.pem",
        "connect_timeout=0",
        "connect_timeout=x",
        f"{SECRET}=1",
    ],
)
def test_a_parameter_that_could_lead_elsewhere_is_refused(query: str) -> None:
    with pytest.raises(urls.InvalidUrl) as caught:
        urls.parse(f"postgresql://u@h/d?{query}")

    assert SECRET not in str(caught.value)


def test_the_message_names_the_part_that_is_wrong() -> None:
    for text, word in {
        "postgresql://u:p@h:0/d": "port",
        "postgresql://u:p@h/": "database",
        "postgresql://:p@h/d": "user",
        "postgresql://u:p@/d": "host",
        "postgresql://u:p%@h/d": "password",
        "postgresql://u:p@h/d?options=x": "options",
        "sqlite:///x": "SQLite",
    }.items():
        with pytest.raises(urls.InvalidUrl, match=word):
            urls.parse(text)


def test_the_password_is_in_no_representation_for_people() -> None:
    url = urls.parse(f"postgresql://u:{SECRET}@h/d")

    assert SECRET not in f"{url!r} {url} {url.display()} {url.endpoint} {url.without_password('psycopg')}"


def test_libpq_takes_nothing_from_the_workers_environment() -> None:
    arguments = urls.parse("postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=/ca.pem").connect_arguments()

    assert arguments["sslmode"] == "verify-full"
    assert arguments["sslrootcert"] == "/ca.pem"
    assert {"hostaddr": "", "options": "", "target_session_attrs": "any"}.items() <= arguments.items()
    assert not urls.parse("postgresql://u@h/d").connect_arguments()["passfile"].endswith(".pgpass")


@given(user=users, password=printable, database=databases)
def test_sqlalchemy_reads_the_same_fields_from_a_rendered_url(user: str, password: str, database: str) -> None:
    url = urls.TargetUrl(driver="", host="::1", port=6000, database=database, user=user, password=password)

    read = sqlalchemy.make_url(url.render("psycopg2"))

    assert read.drivername == "postgresql+psycopg2"
    assert (read.host, read.port, read.database, read.username) == ("::1", 6000, database, user)
    assert (read.password or "") == password


@given(user=users, password=printable)
def test_a_rendered_url_parses_to_itself(user: str, password: str) -> None:
    parameters = (("connect_timeout", "5"), ("sslmode", "verify-full"), ("sslrootcert", "/a b/ca+1.pem"))
    url = urls.TargetUrl("psycopg", "h", 6000, "d", user, password, parameters)

    assert urls.parse(url.render("psycopg")) == url


@given(st.text(max_size=200))
def test_any_text_is_either_a_url_or_refused(text: str) -> None:
    try:
        url = urls.parse(f"postgresql://{text}")
    except urls.InvalidUrl:
        return
    assert url.host
    assert url.database


def test_asyncpg_gets_its_own_name_for_the_tls_mode() -> None:
    url = urls.parse("postgresql+asyncpg://u:p@h/d?ssl=require&connect_timeout=3")

    assert url.render("asyncpg") == "postgresql+asyncpg://u:p@h:5432/d?ssl=require"
    assert url.render("postgresql+psycopg2") == "postgresql+psycopg2://u:p@h:5432/d?connect_timeout=3&sslmode=require"


@pytest.mark.parametrize("driver", ["asyncpg", "pg8000"])
def test_a_tls_demand_that_a_driver_cannot_be_told_is_refused_and_not_dropped(driver: str) -> None:
    url = urls.parse("postgresql://u:p@h/d?sslrootcert=/ca.pem")

    with pytest.raises(urls.InvalidUrl, match="sslrootcert"):
        url.render(driver)


def test_an_unknown_driver_is_refused() -> None:
    with pytest.raises(urls.InvalidUrl, match="psycopg2"):
        urls.parse("postgresql://u:p@h/d").render("pymysql")
