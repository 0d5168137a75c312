"""The house keeps its bounds: no circle, short functions, few parameters, one meaning a name, the field's words."""

import house
import pytest
from test_layout import PACKAGE, circles, upward

LONGEST = 80
MOST_PARAMETERS = 9
# functions that users call, whose keywords are all of one sentence each
DOORS = {
    "run/training.py:train",
    "cli/training.py:train",
    "run/model.py:sample",
    "sample/integrate.py:generate",
    "sample/integrate.py:integrate",
    "sample/tune.py:tune",
    "likelihood/flow.py:log_likelihood",
    "likelihood/flow.py:sample_with_log_prob",
}
# one verb for one thing, as a command, a function and what it stands on
VERBS = {"density", "encode", "evaluate", "export", "fit", "inspect", "load", "push", "save", "train", "tune", "verify"}
# names of the private dialect that docs/glossary.md replaced
# fmt: off
DIALECT = [
    "Held", "Law", "Laws", "Spread", "jitter", "Tell", "told", "Masked", "Asked", "asked", "one_row", "restored",
    "Allowance", "Shown", "Lens", "lens", "READINGS", "Counted", "Film", "Carried", "Dropped", "Ranked", "ranked",
    "_Found", "Coder", "Stored", "Begun", "begun", "blur", "prices", "priced", "Partners", "Several", "Marginal",
    "Unbiased", "Auto", "ClassifierFree", "check_prediction", "Family", "Discrete", "Bound", "Draws", "Raised", "FAR",
    "Clock", "Health", "streak", "led", "agreed", "same_", "ALONE", "team", "Parts", "PACE", "LATE", "DROPPED",
    "Given", "Twice", "seems", "Dial", "leaning", "speaks", "Optimiser", "optimiser", "licence",
]
# fmt: on


def test_no_circles_and_no_arrow_upward():
    assert circles(PACKAGE) == [] and upward(PACKAGE) == []


def test_bodies_are_short():
    assert [(n, place) for n, place in house.longest() if n > LONGEST] == []


def test_functions_take_few_parameters_but_for_the_public_doors():
    many = {place for n, place in house.most_parameters() if n > MOST_PARAMETERS}
    assert many <= DOORS
    assert many >= DOORS, "a door that takes no more than others: take it off the list"


def test_public_names_have_one_meaning():
    assert set(house.defined_twice()) - VERBS == set()


@pytest.mark.parametrize("word", DIALECT)
def test_words_of_the_dialect_are_gone(word):
    places = house.identifiers()
    assert word not in places, places[word]


def test_the_figures_are_counted_right(tmp_path):
    (tmp_path / "a.py").write_text(
        'def f(self, a, *, b):\n    """Words.\n\n    More.\n    """\n    x = 1\n    return x\n'
    )
    (tmp_path / "b.py").write_text("class f:\n    def g(self, a): return a\n\n\ndef _h(): ...\n")
    (tmp_path / "c.py").write_text("def _h(one, two): ...\n")
    assert [n for n, _ in sorted(house.longest(tmp_path))] == [1, 1, 1, 2]
    assert sorted(n for n, _ in house.most_parameters(tmp_path)) == [0, 1, 2, 2]
    assert house.defined_twice(tmp_path) == {"f": ["a.py", "b.py"]}
