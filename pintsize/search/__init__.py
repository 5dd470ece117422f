"""Top-k over compressed tables, where recall may be traded for time: measured on queries, not guessed."""

from pintsize.search.two_stage import Plan, TwoStage

__all__ = ["Plan", "TwoStage"]
