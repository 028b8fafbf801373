"""The grid operator's side: takes in signed readings and bids, clears auctions, settles, posts, and steers the grid."""
