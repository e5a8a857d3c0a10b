"""Run with: python3 -m unittest discover -s models/orchard -p '*_test.py'"""

import hashlib
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import generate_text
from world import World


def _digest(split, seed, documents):
    text = "".join(generate_text.generate(split, seed, documents=documents))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class GenerateTextTest(unittest.TestCase):
    def test_output_is_the_same_on_every_machine(self):
        # If this changes, the model, the tokenizer and the committed texts must be made anew.
        self.assertEqual(_digest("train", 1, 200), "1477e611cfe0fd241a5382379929ee282d30e6799235bf46da46effaef5d5544")

    def test_splits_and_seeds_differ(self):
        digests = {_digest("train", 1, 20), _digest("valid", 1, 20), _digest("train", 2, 20)}
        self.assertEqual(len(digests), 3)

    def test_committed_texts_come_from_the_generator(self):
        for split in ("valid", "test"):
            with open(os.path.join(HERE, split + ".txt"), encoding="ascii") as file:
                committed = file.read()
            written = "".join(generate_text.generate(split, 1, characters=len(committed)))
            self.assertEqual(written, committed)

    def test_stops_after_the_article_that_reaches_the_limit(self):
        articles = list(generate_text.generate("train", 1, characters=3000))
        self.assertGreaterEqual(len("".join(articles)), 3000)
        self.assertLess(len("".join(articles[:-1])), 3000)

    def test_text_is_laid_out_as_wikitext(self):
        lines = "".join(generate_text.generate("train", 1, documents=50)).split("\n")
        for line in filter(None, lines):
            self.assertTrue(line.startswith(" ") and line == line.rstrip())
        self.assertEqual(sum(line.startswith(" = ") and line.endswith(" =") for line in lines), 50)


class WorldTest(unittest.TestCase):
    def test_names_are_unique(self):
        world = World()
        for things in (world.regions, world.towns, world.rivers, world.people, world.species,
                       world.battles, world.minerals):
            names = [thing.name for thing in things]
            self.assertEqual(len(set(names)), len(names))

    def test_facts_agree_with_each_other(self):
        world = World()
        for battle in world.battles:
            self.assertLess(battle.fallen, battle.soldiers)
            self.assertGreater(battle.year, battle.town.founded)
        for person in world.people:
            if person.teacher:
                self.assertGreater(person.born, person.teacher.born)
            for work in person.works:
                self.assertTrue(person.born < work.year <= person.died)


if __name__ == "__main__":
    unittest.main()
