"""A few checks that run without a test framework: python -m orchard.checks"""

import datetime

from orchard.chart import bar
from orchard.diary import Basket, DiaryError, parse_line
from orchard.frost import dew_point
from orchard.totals import by_row, totals


def check_parse() -> None:
    basket = parse_line("2024-09-14 row-3/tree-7 18.5", 1)
    assert basket == Basket(datetime.date(2024, 9, 14), "row-3/tree-7", 18.5)


def check_parse_error() -> None:
    try:
        parse_line("2024-09-14 row-3/tree-7", 12)
    except DiaryError as error:
        assert "line 12" in str(error)
    else:
        raise AssertionError("a line with two fields was accepted")


def check_totals() -> None:
    day = datetime.date(2024, 9, 14)
    baskets = [Basket(day, "row-1/tree-1", 2.0), Basket(day, "row-2/tree-1", 3.0), Basket(day, "row-1/tree-2", 4.0)]
    assert totals(baskets, by_row) == {"row-1": 6.0, "row-2": 3.0}


def check_dew_point() -> None:
    assert abs(dew_point(20.0, 100.0) - 20.0) < 1e-9
    assert abs(dew_point(20.0, 50.0) - 9.26) < 0.05


def check_bar() -> None:
    assert bar(1.0, 2.0, 4) == "██"


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
