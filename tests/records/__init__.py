"""One suite for every store of records: the tests speak to the port alone."""
