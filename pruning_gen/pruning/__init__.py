"""What pruning is: scores, masks, and the schedules that rewinding replays."""
