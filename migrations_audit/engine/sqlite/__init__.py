"""SQLite files as targets, read by the standard library. Their driver commits before and after DDL."""
