"""The page at `/`: log in, ask for an agent, get its invite. Plain files, served as they are."""
