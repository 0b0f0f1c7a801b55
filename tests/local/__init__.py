"""What runs on one machine: the database server, the children, the supervisor."""
