"""Readers on files made in exactly the published form, and their answers to other files."""

import hashlib
import zipfile

import numpy as np
import polars as pl
import pytest

from pintsize.errors import TableError
from pintsize.lab.datasets import movielens
from pintsize.lab.datasets.gowalla import read_gowalla
from pintsize.lab.datasets.interactions import Interactions, leave_last, random_split
from pintsize.lab.datasets.movielens import fetch_wheel, read_movielens

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
RATINGS = "10\t2\t3\t50\n9\t2\t5\t40\n10\t11\t1\t60\n"
USER = (
    "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    + "9\t24\tM\twriter\t85711\n10\t53\tF\tother\t94043\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    + "2\tGoldenEye\t1995\tAction\n11\tSeven\t1995\tCrime\n"
)


def pairs():
    return Interactions(np.array([0, 1, 0, 2, 0], np.int32), np.array([1, 1, 2, 0, 3], np.int32), 3, 4)


def wheel(path, **changes):
    texts = {"inter": INTER + RATINGS, "user": USER, "item": ITEM} | changes
    with zipfile.ZipFile(path, "w") as archive:
        for kind, text in texts.items():
            archive.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{kind}", text)
    return path


def test_matrix_holds_each_pair_once():
    twice = Interactions(np.array([0, 0, 1], np.int32), np.array([2, 2, 0], np.int32), 2, 3)
    np.testing.assert_array_equal(twice.matrix().toarray(), [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(("users", "items"), [([0, 3], [0, 0]), ([0, -1], [0, 0]), ([0], [4]), ([0, 1], [0])])
def test_pairs_out_of_range_are_refused(users, items):
    with pytest.raises(TableError):
        Interactions(np.array(users, np.int32), np.array(items, np.int32), 3, 4)


def test_random_split_parts_all_pairs_by_seed():
    many = Interactions(np.arange(2000, dtype=np.int32), np.arange(2000, dtype=np.int32), 2000, 2000)
    split, again, other = (random_split(many, share=0.25, seed=seed) for seed in (1, 1, 2))
    assert sorted([*split.train.users, *split.test.users]) == list(range(2000))
    assert 400 < len(split.test) < 600
    np.testing.assert_array_equal(split.test.users, again.test.users)
    assert not np.array_equal(split.test.users, other.test.users)
    with pytest.raises(TableError, match="between 0 and 1"):
        random_split(many, share=1.0)


def test_leave_last_takes_each_users_latest():
    split = leave_last(pairs(), np.array([5, 1, 7, 1, 7]))
    assert sorted(zip(split.test.users, split.test.items, strict=True)) == [(0, 3), (1, 1), (2, 0)]
    assert len(split.train) == 2
    with pytest.raises(TableError, match="one a pair"):
        leave_last(pairs(), np.array([1]))


def test_gowalla_is_read_and_checked(tmp_path):
    with pytest.raises(TableError, match="train.parquet"):
        read_gowalla(tmp_path)
    for name in ("train", "test"):
        pl.DataFrame({"user": [0, 29857], "item": [40980, 3]}).write_parquet(tmp_path / f"{name}.parquet")
    split = read_gowalla(tmp_path)
    assert split.train.matrix().shape == (29858, 40981) and split.test.users.dtype == np.int32
    pl.DataFrame({"user": [0], "film": [1]}).write_parquet(tmp_path / "test.parquet")
    with pytest.raises(TableError, match="item"):
        read_gowalla(tmp_path)


def test_movielens_from_a_wheel(tmp_path):
    data = read_movielens(wheel(tmp_path / "a.whl"))
    assert data.user_ids == ("9", "10") and data.item_ids == ("2", "11")
    assert data.pairs.users.tolist() == [1, 0, 1] and data.pairs.items.tolist() == [0, 0, 1]
    assert data.ratings.tolist() == [3, 5, 1] and data.times.tolist() == [50, 40, 60]
    assert data.user_fields["occupation"] == ("writer", "other")
    assert data.item_fields["movie_title"] == ("GoldenEye", "Seven")


def test_movielens_from_grouplens(tmp_path):
    (tmp_path / "u.data").write_text(RATINGS)
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", RATINGS)
    for path in (tmp_path, tmp_path / "ml-100k.zip"):
        data = read_movielens(path)
        assert data.pairs.users.tolist() == [1, 0, 1] and data.user_fields == {}


def test_movielens_says_what_is_wrong(tmp_path):
    (tmp_path / "text.whl").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "")
    cases = {
        "no archive": (tmp_path / "text.whl", "zip archive"),
        "other archive": (tmp_path / "other.zip", "found neither"),
        "nothing": (tmp_path / "gone.whl", "there is none"),
        "empty directory": (tmp_path, "u.data"),
        "short line": (wheel(tmp_path / "b.whl", inter=INTER + "1\t2\n"), "line 2: expected 4 fields"),
    }
    for path, message in cases.values():
        with pytest.raises(TableError, match=message):
            read_movielens(path)


def test_a_cached_wheel_is_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("PINTSIZE_CACHE", str(tmp_path))
    cached = wheel(tmp_path / "recbole-1.2.1-py3-none-any.whl")
    with pytest.raises(TableError, match="expected sha256"):
        fetch_wheel()
    monkeypatch.setattr(movielens, "_SHA256", hashlib.sha256(cached.read_bytes()).hexdigest())
    assert fetch_wheel() == cached
    assert len(read_movielens().pairs) == 3
