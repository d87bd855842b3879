"""MariaDB and MySQL as targets, read by PyMySQL. They cannot roll back DDL."""
