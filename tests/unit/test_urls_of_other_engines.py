"""URLs of MariaDB, MySQL and SQLite: what is accepted, what is refused, and what drivers get of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from migrations_audit.engine import dialects, urls
from migrations_audit.engine.mariadb import url as mariadb_url
from migrations_audit.engine.mariadb.url import MariadbUrl
from migrations_audit.engine.sqlite import url as sqlite_url
from migrations_audit.engine.sqlite.url import SqliteUrl

SECRET = "hunter2-s3cret"


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql", "MariaDB+PyMySQL"])
def test_every_scheme_of_mariadb_is_understood(scheme: str) -> None:
    url = dialects.parse(f"{scheme}://u:{SECRET}@DB.example/shop", sqlite_roots=())

    assert isinstance(url, MariadbUrl)
    assert (url.host, url.port, url.database, url.user, url.password) == ("db.example", 3306, "shop", "u", SECRET)
    assert SECRET not in repr(url) + url.display()


def test_postgresql_stays_what_it_was() -> None:
    assert type(dialects.parse("postgresql://u@h/d", sqlite_roots=())) is urls.TargetUrl


@pytest.mark.parametrize("driver", mariadb_url.DRIVERS)
def test_what_is_rendered_leads_sqlalchemy_to_the_same_place(driver: str) -> None:
    url = mariadb_url.parse("mysql://u%40x:p%2F%3A%40@[2001:db8::1]:3307/shop?charset=utf8mb4")

    read = sqlalchemy.make_url(url.render(driver))

    assert (read.host, read.port, read.database, read.username, read.password) == (
        "2001:db8::1",
        3307,
        "shop",
        "u@x",
        "p/:@",
    )
    assert read.query == {"charset": "utf8mb4"}
    assert "p%2F" not in url.without_password(driver)


@pytest.mark.parametrize(
    "text",
    [
        f"mysql+mysqldb://u:{SECRET}@h/d",
        f"mysql://u:{SECRET}@/d",
        f"mysql://u:{SECRET}@%2Frun%2Fmysqld.sock/d",
        f"mysql://u:{SECRET}@h/",
        f"mysql://u:{SECRET}@a,b/d",
        f"mysql://:{SECRET}@h/d",
        f"mysql://u:{SECRET}@h/d?unix_socket=/x",
        f"mysql://u:{SECRET}@h/d?read_default_file=/x",
        f"mysql://u:{SECRET}@h/d?init_command=x",
        f"mysql://u:{SECRET}@h/d?ssl_ca=relative.pem",
        f"mysql://u:{SECRET}@h/d?charset=latin1",
        f"mysql://u:{SECRET}@h/d?charset=utf8&charset=utf8",
        f"mysql://u:{SECRET}@h/d?{SECRET}=1",
        f"mysql://u:{SECRET}@h/{'d' * 65}",
    ],
)
def test_what_could_lead_elsewhere_is_refused_without_the_password(text: str) -> None:
    with pytest.raises(urls.InvalidUrl) as caught:
        dialects.parse(text, sqlite_roots=())

    assert SECRET not in caught.value.message


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql", "mysql+mysqldb", "sqlite", ""])
def test_a_driver_of_another_engine_is_refused(driver: str) -> None:
    with pytest.raises(urls.InvalidUrl, match=r"Choose mysql\+pymysql"):
        mariadb_url.parse("mysql://u@h/d").render(driver)


def test_postgresql_refuses_the_driver_of_mariadb() -> None:
    with pytest.raises(urls.InvalidUrl):
        urls.parse("postgresql://u@h/d").render("mysql+pymysql")


def test_tls_is_handed_on() -> None:
    url = mariadb_url.parse("mysql://u@h/d?ssl_ca=/etc/ca.pem&ssl_check_hostname=false")

    assert url.connect_arguments()["ssl"] == {"ca": "/etc/ca.pem", "check_hostname": False}
    assert "ssl" not in mariadb_url.parse("mysql://u@h/d").connect_arguments()


def test_a_file_below_a_root_is_accepted(tmp_path: Path) -> None:
    url = dialects.parse(f"sqlite:///{tmp_path}/shop.db", sqlite_roots=[str(tmp_path)])

    assert isinstance(url, SqliteUrl)
    assert url.display() == f"{tmp_path}/shop.db"
    assert sqlalchemy.make_url(url.render("sqlite")).database == f"{tmp_path}/shop.db"


@pytest.mark.parametrize(
    "text",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///shop.db",
        "sqlite://host/srv/shop.db",
        "sqlite:////srv/shop.db?mode=ro",
        "sqlite:////srv/shop.db?uri=true",
        "sqlite:////srv/../etc/passwd",
        "sqlite:////srv//shop.db",
        "sqlite:////srv/shop%3Fmode=ro.db",
        "sqlite:////srv/shop%00.db",
        "sqlite+aiosqlite:////srv/shop.db",
        "sqlite:///file:/srv/shop.db",
    ],
)
def test_what_is_not_the_path_of_one_file_is_refused(text: str) -> None:
    with pytest.raises(urls.InvalidUrl):
        sqlite_url.parse(text)


def test_no_root_no_file(tmp_path: Path) -> None:
    with pytest.raises(urls.InvalidUrl, match="PORTAL_SQLITE_ROOTS is empty"):
        dialects.parse(f"sqlite:///{tmp_path}/shop.db", sqlite_roots=())


def test_a_file_beside_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()

    with pytest.raises(urls.InvalidUrl, match="does not lie below"):
        dialects.parse(f"sqlite:///{tmp_path}/files-of-others/shop.db", sqlite_roots=[str(tmp_path / "files")])


@pytest.mark.parametrize("place", ["link.db", "folder/shop.db"])
def test_a_symbolic_link_is_refused(tmp_path: Path, place: str) -> None:
    root = tmp_path / "files"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "link.db").symlink_to(tmp_path / "outside" / "shop.db")
    (root / "folder").symlink_to(tmp_path / "outside")

    with pytest.raises(urls.InvalidUrl, match="symbolic link"):
        dialects.parse(f"sqlite:///{root}/{place}", sqlite_roots=[str(root)])
