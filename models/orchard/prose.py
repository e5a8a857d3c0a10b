"""Free sentences: their words are chosen afresh, only grammar and topic tie them together."""

import lexicon
from lexicon import capitalise, plural, third_person, with_article


class Prose:
    """Writes sentences on one topic. What the words do is a habit of the world: every noun has its
    own few adjectives, verbs and places, every verb its own few objects."""

    def __init__(self, rng, world, topic):
        self._rng = rng
        self._words = lexicon.TOPICS[topic]
        self._habits = world.habits[topic]

    def _subject(self, noun, many):
        rng = self._rng
        phrase = plural(noun) if many else noun
        if rng.random() < 0.7:
            phrase = f"{rng.choice(self._habits['adjectives'][noun])} {phrase}"
        phrase = "the " + phrase
        # Something of either number between subject and verb, so that agreement needs memory.
        roll = rng.random()
        other = rng.choice(self._words["nouns"])
        if roll < 0.15:
            phrase += f" beside the {plural(other) if rng.random() < 0.5 else other}"
        elif roll < 0.3:
            verb = rng.choice(self._habits["verbs"][noun])
            phrase += f" who {verb[1]} {self._object(verb)}"
        return phrase

    def _object(self, verb):
        return "the " + self._rng.choice(self._habits["objects"][verb[0]])

    def sentences(self, count):
        """Sentences of which some go on about the subject of the one before."""
        rng = self._rng
        result = []
        noun, many = None, False
        while len(result) < count:
            if noun and rng.random() < 0.4:
                result.append(self._continuation(noun, many))
            else:
                noun, many = rng.choice(self._words["nouns"]), rng.random() < 0.5
                result.append(self._opening(noun, many))
        return result

    def _continuation(self, noun, many):
        rng = self._rng
        who = "they" if many else f"the {noun}"
        base, past = verb = rng.choice(self._habits["verbs"][noun])
        thing = self._object(verb)
        return capitalise(rng.choice([
            f"Later {who} {past} {thing} {rng.choice(lexicon.ADVERBS)}.",
            f"{who} also {base if many else third_person(base)} {thing}.",
            f"In the end {who} {past} {thing} and {'were' if many else 'was'} "
            f"{rng.choice(_MOODS)}."]))

    def _opening(self, noun, many):
        rng = self._rng
        subject = self._subject(noun, many)
        base, past = verb = rng.choice(self._habits["verbs"][noun])
        present = base if many else third_person(base)
        thing, place = self._object(verb), rng.choice(self._habits["places"][noun])
        time, adverb = rng.choice(self._words["times"]), rng.choice(lexicon.ADVERBS)
        other = rng.choice(self._words["nouns"])
        patterns = [
            f"{subject} {present} {thing} {place}.",
            f"{time}, {subject} {present} {thing}.",
            f"{place}, {subject} {past} {thing} {adverb}.",
            f"{subject} {past} {thing}, but the {plural(other)} did not.",
            f"{subject} {'are' if many else 'is'} never seen {place} {time}.",
            f"nobody {third_person(base)} {thing} as well as {subject}.",
            f"{subject} must {base} {thing} {time}.",
            f"\"{capitalise(base)} {thing}!\" said the {other} to {subject}.",
        ]
        return capitalise(rng.choices(patterns, [6, 4, 4, 2, 2, 1, 2, 1])[0])


def ledger_sentence(rng, goods):
    """Multiplication and addition small enough to be learnt."""
    count, price = rng.randrange(2, 10), rng.randrange(2, 10)
    good = rng.choice(goods)
    if rng.random() < 0.5:
        return (f"{capitalise(lexicon.in_words(count))} crates of {good} at {price} coins each "
                f"cost {count * price} coins.")
    start, sold = rng.randrange(20, 100), rng.randrange(2, 20)
    return (f"Of {start} crates of {good}, {sold} were sold and {start - sold} were left.")


_MOODS = ["angry", "glad", "afraid", "tired", "hopeful", "silent", "ashamed", "content", "late",
          "rich", "surprised", "lonely"]
_OBJECTS = ["lantern", "letter", "silver ring", "wooden flute", "map", "clay jar", "old sword",
            "blue cloak", "iron key", "basket", "mirror", "small drum"]


def tale(rng, world):
    """A story about two people of its own, who exist in this article only: their names, the thing
    they seek and where it is must be carried from sentence to sentence."""
    region = rng.choice(world.regions)
    home, goal = rng.sample(region.towns, 2)
    heroes = []
    for female in rng.sample([True, False], 2):
        onsets, vowels, codas = region.sounds
        name = (rng.choice(onsets) + rng.choice(vowels) + rng.choice(onsets) + rng.choice(vowels)
                + ("" if female else "n")).capitalize()
        heroes.append((name, "she" if female else "he", "her" if female else "his"))
    (one, she, her), (two, he, his) = heroes
    topic = rng.choice(sorted(lexicon.TOPICS))
    trades = rng.sample(lexicon.TOPICS[topic]["nouns"], 2)
    thing, second = rng.sample(_OBJECTS, 2)
    mood, days = rng.choice(_MOODS), rng.randrange(2, 10)
    opening = [
        f"In {home.name} there lived {with_article(trades[0])} called {one}.",
        f"{one} was {with_article(trades[0])} of {home.name}.",
        f"Once {with_article(trades[0])} named {one} lived in {home.name}."]
    middle = [
        f"One day {she} found {with_article(thing)} in {her} house.",
        f"Every evening {one} carried {with_article(thing)} to {her} friend {two}.",
        f"{capitalise(her)} only treasure was {with_article(thing)}."]
    sentences = [rng.choice(opening), rng.choice(middle)]
    sentences.append(rng.choice([
        f"{two}, {with_article(trades[1])} of {goal.name}, wanted the {thing} for {his} own.",
        f"But {two}, who was {with_article(trades[1])}, took the {thing} to {goal.name}."]))
    sentences += Prose(rng, world, topic).sentences(rng.randrange(1, 4))
    sentences.append(f"So {one} left {home.name} and walked for {lexicon.in_words(days)} days to "
                     f"{goal.name}.")
    sentences.append(f"On the {lexicon.ORDINALS[days - 1]} day {she} met {two}, and {he} was "
                     f"{mood}.")
    sentences.append(rng.choice([
        f"\"Give me the {thing},\" said {one}, \"and you shall have {with_article(second)}.\"",
        f"\"I have brought {with_article(second)},\" said {one}. \"Where is the {thing}?\""]))
    sentences.append(rng.choice([
        f"{two} took the {second} and gave {one} the {thing}.",
        f"{two} kept the {thing} and threw the {second} into the river."]))
    sentences.append(rng.choice([
        f"Then {one} went home to {home.name}, and {two} stayed in {goal.name}.",
        f"{one} and {two} were friends from that day, and the {thing} still hangs in "
        f"{home.name}."]))
    title = rng.choice([f"The {thing.title()} of {one}", f"{one} and {two}",
                        f"A Tale of {home.name}"])
    return title, [sentences[:-5], sentences[-5:]]
