"""What can be asked (types), where it is written down (records), and the door that takes it (door, rest)."""
