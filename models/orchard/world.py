"""The facts of the invented world. They depend on WORLD_SEED alone, so every split of the text
speaks about the same world and a model can learn it by heart."""

import math
import random
from dataclasses import dataclass, field

import lexicon

WORLD_SEED = "orchard world 1"
REGIONS, TOWNS, RIVERS, PEOPLE, SPECIES, BATTLES, WORKS, MINERALS = 12, 84, 18, 108, 60, 36, 48, 30
MAP_MILES = 900


@dataclass
class Region:
    name: str
    adjective: str
    sounds: tuple
    centre: tuple
    language: str
    currency: str
    climate: str
    government: str
    colours: list
    united: int
    towns: list = field(default_factory=list)

    @property
    def capital(self):
        return self.towns[0]


@dataclass
class Town:
    name: str
    region: Region
    position: tuple
    founded: int
    population: int
    trade: str
    landmark: str
    landmark_year: int
    topic: str
    river: object = None
    neighbours: list = field(default_factory=list)  # [(miles, direction as seen from there, Town)]
    natives: list = field(default_factory=list)


@dataclass
class River:
    name: str
    region: Region
    miles: int
    hills: str
    sea: str
    towns: list = field(default_factory=list)


@dataclass
class Person:
    name: str
    family: str
    female: bool
    town: Town
    occupation: str
    born: int
    month: str
    age: int
    residence: Town
    teacher: object = None
    pupils: list = field(default_factory=list)
    works: list = field(default_factory=list)

    @property
    def died(self):
        return self.born + self.age


@dataclass
class Species:
    name: str
    latin: str
    animal: bool
    colour: str
    second_colour: str
    habitat: str
    diet: str
    region: Region
    inches: int
    years: int
    describer: Person


@dataclass
class Battle:
    name: str
    town: Town
    year: int
    month: str
    winner: Region
    loser: Region
    general: str
    rival: str
    soldiers: int
    fallen: int


@dataclass
class Work:
    title: str
    kind: str
    author: Person
    year: int
    town: Town
    subject: str


@dataclass
class Mineral:
    name: str
    number: int
    colour: str
    hardness: int
    town: Town
    use: str
    finder: Person


_ONSETS = ["b", "br", "c", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "st",
           "t", "th", "v", "w", "z", "tr"]
_VOWELS = ["a", "e", "i", "o", "u", "ae", "ei", "au", "ia"]
_CODAS = ["", "l", "n", "r", "s", "m", "nd", "rn", "th", "ld"]
_TOWN_ENDS = ["mora", "dun", "ford", "wick", "holt", "vale", "stead", "gard", "mouth", "bury",
              "haven", "fell"]
_LATIN_ENDS = ["us", "a", "is", "um", "ella", "ensis"]
# Words that a name must not be, for they would make sentences hard to read.
_ENGLISH = {"Their", "Them", "There", "Then", "Thing", "Thus", "This", "That", "Never", "Here",
            "Wind", "Send", "Mind", "Hold", "Gold", "Told", "Bear", "Year", "Sand", "Land"}
_ANIMALS = ["finch", "heron", "otter", "hare", "newt", "moth", "owl", "marten", "carp", "lizard"]
_PLANTS = ["fern", "orchid", "willow", "thistle", "plum", "lily", "sedge", "rose", "oak", "mint"]
_SUBJECTS = ["the fall of a proud family", "the voyage of a lost ship", "a winter in the hills",
             "the love of two rivals", "the motion of the planets", "the laws of trade",
             "the roads of the coast", "a long siege", "the dreams of a shepherd"]
_TITLE_HEADS = ["The Silent", "The Golden", "The Last", "The Hidden", "The Broken", "The Distant",
                "The Second", "The Burning"]
_TITLE_TAILS = ["Orchard", "Harbour", "Mirror", "Winter", "Garden", "Tower", "River", "Compass"]


class _Namer:
    """Makes names that are unique and sound like their region."""

    def __init__(self, rng):
        self._rng = rng
        self._used = set()

    def sounds(self):
        rng = self._rng
        return (rng.sample(_ONSETS, 6), rng.sample(_VOWELS, 3), rng.sample(_CODAS, 3))

    def name(self, sounds, syllables, ends=("",)):
        onsets, vowels, codas = sounds
        rng = self._rng
        while True:
            parts = [rng.choice(onsets) + rng.choice(vowels) for _ in range(syllables)]
            word = ("".join(parts) + rng.choice(codas) + rng.choice(ends)).capitalize()
            if word not in self._used and word not in _ENGLISH and len(word) > 3:
                self._used.add(word)
                return word


def _bearing(origin, target):
    """Miles, and the compass direction in which `target` lies when seen from `origin`."""
    dx, dy = target[0] - origin[0], target[1] - origin[1]
    octant = round(math.atan2(dx, dy) / (math.pi / 4)) % 8
    return max(1, round(math.hypot(dx, dy))), lexicon.DIRECTIONS[octant]


class World:
    def __init__(self):
        self._rng = random.Random(WORLD_SEED)
        self._namer = _Namer(self._rng)
        self.regions = [self._region() for _ in range(REGIONS)]
        self.towns = [self._town(self.regions[i % REGIONS]) for i in range(TOWNS)]
        self.rivers = [self._river(self.regions[i % REGIONS]) for i in range(RIVERS)]
        self._link_neighbours()
        self.people = []
        for _ in range(PEOPLE):
            self.people.append(self._person())
        self.species = [self._species(i) for i in range(SPECIES)]
        self.battles = [self._battle(town) for town in self._rng.sample(self.towns, BATTLES)]
        self.works = self._works()
        self.minerals = [self._mineral(i + 1) for i in range(MINERALS)]
        self.habits = {topic: self._habits(words) for topic, words in lexicon.TOPICS.items()}

    def _region(self):
        rng, namer = self._rng, self._namer
        sounds = namer.sounds()
        name = namer.name(sounds, 2, ["ia", "and", "or"])
        return Region(
            name=name, adjective=name.rstrip("aio") + "ian", sounds=sounds,
            centre=(rng.randrange(MAP_MILES), rng.randrange(MAP_MILES)),
            language=namer.name(sounds, 1, ["ish", "ese", "ic"]),
            currency=namer.name(sounds, 1).lower(), climate=rng.choice(lexicon.CLIMATES),
            government=rng.choice(lexicon.GOVERNMENTS), colours=rng.sample(lexicon.COLOURS, 2),
            united=rng.randrange(900, 1200))

    def _town(self, region):
        rng = self._rng
        x, y = (c + rng.randrange(-120, 121) for c in region.centre)
        founded = rng.randrange(700, 1400)
        town = Town(
            name=self._namer.name(region.sounds, rng.choice([1, 1, 2]), _TOWN_ENDS), region=region,
            position=(x, y), founded=founded, population=rng.randrange(2, 90) * 500,
            trade=rng.choice(lexicon.TRADES), landmark=rng.choice(lexicon.LANDMARKS),
            landmark_year=founded + 10 * rng.randrange(2, 30),
            topic=rng.choice(sorted(lexicon.TOPICS)))
        region.towns.append(town)
        return town

    def _river(self, region):
        rng, namer = self._rng, self._namer
        river = River(
            name=namer.name(region.sounds, 1), region=region, miles=rng.randrange(40, 400),
            hills=namer.name(region.sounds, 1) + " Hills",
            sea=rng.choice(["Sea of Pearls", "Grey Sea", "Gulf of Storms", "Bay of Swans"]))
        free = [town for town in region.towns if town.river is None]
        for town in rng.sample(free, min(3, len(free))):
            town.river = river
            river.towns.append(town)
        return river

    def _link_neighbours(self):
        for town in self.towns:
            others = [(*_bearing(other.position, town.position), other)
                      for other in self.towns if other is not town]
            town.neighbours = sorted(others, key=lambda entry: entry[0])[:2]

    def _person(self):
        rng, namer = self._rng, self._namer
        town = rng.choice(self.towns)
        female = rng.random() < 0.5
        first = namer.name(town.region.sounds, 1, ["a", "ina", "elle"] if female
                           else ["o", "ek", "us"])
        family = namer.name(town.region.sounds, 2)
        older = self.people[-14:-5]  # born 13 to 43 years before
        person = Person(
            name=f"{first} {family}", family=family, female=female, town=town,
            occupation=rng.choice(sorted(lexicon.OCCUPATIONS)),
            born=1300 + 3 * len(self.people) + rng.randrange(3), month=rng.choice(lexicon.MONTHS),
            age=rng.randrange(41, 90), residence=rng.choice(self.towns),
            teacher=rng.choice(older) if older else None)
        town.natives.append(person)
        if person.teacher:
            person.teacher.pupils.append(person)
        return person

    def _species(self, index):
        rng, namer = self._rng, self._namer
        animal = index % 2 == 0
        region = rng.choice(self.regions)
        colours = rng.sample(lexicon.COLOURS, 2)
        kind = rng.choice(_ANIMALS if animal else _PLANTS)
        return Species(
            name=namer.name(region.sounds, 1).lower() + " " + kind,
            latin=namer.name(region.sounds, 2, ["us", "a"]) + " "
            + namer.name(region.sounds, 1, _LATIN_ENDS).lower(),
            animal=animal, colour=colours[0], second_colour=colours[1],
            habitat=rng.choice(lexicon.HABITATS), diet=rng.choice(lexicon.DIETS), region=region,
            inches=rng.randrange(3, 40), years=rng.randrange(2, 30),
            describer=rng.choice(self.people))

    def _battle(self, town):
        rng, namer = self._rng, self._namer
        other = rng.choice([region for region in self.regions if region is not town.region])
        sides = [town.region, other]
        rng.shuffle(sides)
        return Battle(
            name="Battle of " + town.name, town=town, year=rng.randrange(town.founded + 50, 1650),
            month=rng.choice(lexicon.MONTHS), winner=sides[0], loser=sides[1],
            general=namer.name(sides[0].sounds, 2), rival=namer.name(sides[1].sounds, 2),
            soldiers=100 * rng.randrange(20, 90), fallen=100 * rng.randrange(3, 19))

    def _works(self):
        rng = self._rng
        titles = [f"{head} {tail}" for head in _TITLE_HEADS for tail in _TITLE_TAILS]
        works = []
        for title in rng.sample(titles, WORKS):
            author = rng.choice(self.people)
            work = Work(title, rng.choice(lexicon.WORK_KINDS), author,
                        author.born + rng.randrange(20, 41), rng.choice(self.towns),
                        rng.choice(_SUBJECTS))
            author.works.append(work)
            works.append(work)
        return works

    def _mineral(self, number):
        rng = self._rng
        town = rng.choice(self.towns)
        return Mineral(
            name=self._namer.name(town.region.sounds, 1, ["ite", "ium", "ine"]).lower(),
            number=number, colour=rng.choice(lexicon.COLOURS), hardness=rng.randrange(1, 11),
            town=town, use=rng.choice(lexicon.USES), finder=rng.choice(self.people))

    def _habits(self, words):
        """For each noun its adjectives, verbs and places; for each verb its objects."""
        rng = self._rng
        habits = {key: {noun: rng.sample(words[key], size) for noun in words["nouns"]}
                  for key, size in (("adjectives", 4), ("verbs", 5), ("places", 3))}
        habits["objects"] = {verb[0]: rng.sample(words["objects"], 5) for verb in words["verbs"]}
        return habits
