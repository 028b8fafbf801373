"""What the home expects, bids and checks."""
