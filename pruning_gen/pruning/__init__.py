"""What pruning is: scores, masks, and the arms that combine them."""
