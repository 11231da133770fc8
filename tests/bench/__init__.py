"""What the daemon costs, as ratios measured in one run: no time of this machine is promised."""
