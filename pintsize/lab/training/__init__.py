"""One loop that trains every recommender of the lab: the same seed gives the same bits, and what stopped goes on."""

from pintsize.lab.training.clicks import ClickTask
from pintsize.lab.training.loop import train
from pintsize.lab.training.ranking import RankingModel, RankingTask
from pintsize.lab.training.record import Epoch, History
from pintsize.lab.training.task import Task

__all__ = ["ClickTask", "Epoch", "History", "RankingModel", "RankingTask", "Task", "train"]
