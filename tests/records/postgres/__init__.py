"""What only rows have: people at psql, migrations, connections that drop."""
