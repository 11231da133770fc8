"""What people see of a running daemon, and what they may do to it."""
