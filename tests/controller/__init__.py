"""The controller: its pure deciders by tables, its shell in virtual time."""
