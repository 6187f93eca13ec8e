"""Pairs for retrieval: what belongs together, and nothing that gives it away."""

from pipeline.evaluation.pairs import Pair, docstring_pairs, heading_pairs, usable

SOURCE = '''
class Stack:
    def push(self, item):
        """Put an item
        on top.

        Later pops give it back.
        """
        # the list grows at its end
        self.items.append(item)

    async def pop(self):
        "Take the item from the top."
        return self.items.pop()

    def documented_only(self):
        """There is nothing else here."""

    def silent(self):
        return 1
'''


def test_a_docstring_is_paired_with_its_function_without_it() -> None:
    pairs = list(docstring_pairs(SOURCE))
    assert pairs == [
        Pair(
            "Put an item on top.",
            "def push(self, item):\n    # the list grows at its end\n    self.items.append(item)",
        ),
        Pair("Take the item from the top.", "async def pop(self):\n    return self.items.pop()"),
    ]


def test_what_is_not_python_has_no_pairs() -> None:
    assert list(docstring_pairs("print 'hello'")) == []
    assert list(docstring_pairs("x = '\\0")) == []


def test_a_heading_is_paired_with_the_text_up_to_the_next() -> None:
    page = (
        "<title>Both</title>\n<h1>Sets &amp; <em>maps</em></h1>\n\n<p>a &lt; b</p>\n<h2>Second\npart</h2>\n<li>one</li>"
    )
    assert list(heading_pairs(page)) == [Pair("Sets & maps", "a < b"), Pair("Second part", "one")]


def test_only_pairs_that_can_be_told_from_others_are_kept() -> None:
    long, other = "x" * 200, "y" * 200
    first = Pair("what it is about", long)
    kept = usable([first, Pair("what it is about", other), Pair("another question", long), Pair("too short", other)])
    assert kept == [first]
    assert usable([Pair("a good question", "short")]) == []
