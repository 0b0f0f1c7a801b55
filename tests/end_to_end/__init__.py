"""The whole product as real processes: `agent-pool up`, a real Postgres, real sockets, kills with -9."""
