"""Articles about the world: each function returns (title, paragraphs), a paragraph being a list of
sentences. Facts come from the World; wording, order and omissions from the article's own rng."""

import lexicon
from lexicon import capitalise, in_words, join_list, plural, with_article
from prose import Prose, ledger_sentence, tale


def _some(rng, sentences, fewest):
    """A random part of `sentences`, order kept."""
    count = rng.randrange(fewest, len(sentences) + 1)
    chosen = sorted(rng.sample(range(len(sentences)), count))
    return [sentences[i] for i in chosen]


def _thousands(number):
    return f"{number:,}"


def town(rng, world):
    t = rng.choice(world.towns)
    miles, direction, neighbour = rng.choice(t.neighbours)
    opening = [
        rng.choice([f"{t.name} is a town in {t.region.name}.",
                    f"{t.name} is {with_article(t.region.adjective)} town known for its "
                    f"{t.trade}."]),
        f"It lies {miles} miles {direction} of {neighbour.name}"
        + (f", on the river {t.river.name}." if t.river else "."),
        f"The town has a population of about {_thousands(t.population)}.",
        rng.choice([f"Most of the people speak {t.region.language}.",
                    f"Its people pay in {t.region.currency}s and speak {t.region.language}."])]
    later = t.landmark_year - t.founded
    history = [
        rng.choice([f"{t.name} was founded in {t.founded}.",
                    f"The town was founded in the year {t.founded} by settlers from "
                    f"{neighbour.name}."]),
        f"The {t.landmark} was built in {t.landmark_year}, {later} years after the founding.",
        f"Since then the {t.landmark} has been the pride of {t.name}."]
    battles = [b for b in world.battles if b.town is t]
    if battles:
        battle = rng.choice(battles)
        history.append(f"In {battle.year} the army of {battle.winner.name} defeated the army of "
                       f"{battle.loser.name} near the town.")
    trade = [rng.choice([f"The town lives on the trade in {t.trade}.",
                         f"The merchants of {t.name} sell {t.trade} as far as "
                         f"{rng.choice(world.towns).name}."])]
    trade += Prose(rng, world, t.topic).sentences(rng.randrange(1, 4))
    if t.natives:
        trade.append(f"The {t.natives[0].occupation} {t.natives[0].name} was born in {t.name}.")
    return t.name, [_some(rng, opening, 2), _some(rng, history, 2), trade]


def person(rng, world):
    p = rng.choice(world.people)
    he, his = ("she", "her") if p.female else ("he", "his")
    legacy, past = lexicon.OCCUPATIONS[p.occupation]
    early = [
        rng.choice([
            f"{p.name} ({p.born} - {p.died}) was {with_article(p.town.region.adjective)} "
            f"{p.occupation}.",
            f"{p.name} was {with_article(p.occupation)} from {p.town.region.name}."]),
        rng.choice([f"{capitalise(he)} was born in {p.town.name} in {p.month} {p.born}.",
                    f"{p.family} was born in {p.month} {p.born} in the town of {p.town.name}."])]
    if p.teacher:
        early.append(rng.choice([
            f"At the age of {in_words(rng.randrange(9, 19))} {he} became a pupil of the "
            f"{p.teacher.occupation} {p.teacher.name}.",
            f"{capitalise(his)} teacher was {p.teacher.name}, {with_article(p.teacher.occupation)} "
            f"of {p.teacher.residence.name}."]))
    moved = rng.randrange(20, 40)
    career = [
        f"In {p.born + moved}, at the age of {moved}, {p.family} moved to {p.residence.name}.",
        f"There {he} {past} for many years and left {legacy}."]
    for work in p.works:
        career.append(f"{capitalise(his)} {work.kind} {work.title} appeared in {work.year}, when "
                      f"{he} was {work.year - p.born} years old.")
    if p.pupils:
        names = [pupil.name for pupil in p.pupils[:3]]
        career.append(f"Among {his} pupils {'was' if len(names) == 1 else 'were'} "
                      f"{join_list(names)}.")
    end = Prose(rng, world, p.residence.topic).sentences(rng.randrange(3))
    end.append(rng.choice([
        f"{p.family} died in {p.residence.name} in {p.died}, at the age of {p.age}.",
        f"{capitalise(he)} died in {p.died} at the age of {p.age} and was buried in "
        f"{p.residence.name}."]))
    return p.name, [early, _some(rng, career, 1), end]


def species(rng, world):
    s = rng.choice(world.species)
    kind = s.name.split()[1]
    names = plural(s.name)
    looks = [
        rng.choice([f"The {s.name} ({s.latin}) is {with_article(kind)} of {s.region.name}.",
                    f"{s.latin}, the {s.name}, is {with_article(kind)} found in "
                    f"{s.region.name}."]),
        f"It is {s.colour} with {s.second_colour} "
        + ("spots" if s.animal else "flowers") + f" and grows to about {s.inches} inches.",
        f"{capitalise(names)} live in the {s.habitat} and may reach an age of "
        f"{in_words(s.years)} years."]
    if s.animal:
        looks.append(f"They feed on {s.diet}.")
    else:
        looks.append(f"Its {s.second_colour} flowers open in {rng.choice(lexicon.MONTHS)} "
                     f"when the weather is {s.region.climate}.")
    d = s.describer
    human = [
        f"The {s.name} was first described by {d.name}, the {d.occupation} of {d.residence.name}.",
        f"{d.family} called it {s.latin}.",
        rng.choice([f"In {s.region.name} it is a sign of good luck.",
                    f"The people of {s.region.capital.name} call it the {s.colour} {kind}.",
                    f"It is rarely seen outside the {s.habitat} of {s.region.name}."])]
    return capitalise(s.name), [_some(rng, looks, 3), _some(rng, human, 1)]


def region(rng, world):
    r = rng.choice(world.regions)
    land = [
        f"{r.name} is a land of {in_words(len(r.towns))} towns.",
        f"Its capital is {r.capital.name}, and its people speak {r.language}.",
        f"The climate is {r.climate}.",
        f"The {r.adjective} flag is {r.colours[0]} and {r.colours[1]}."]
    state = [
        f"{r.name} was united in {r.united} and is ruled by {r.government}.",
        f"The coin of the land is the {r.currency}.",
        f"The largest town is {max(r.towns, key=lambda t: t.population).name}, and the oldest is "
        f"{min(r.towns, key=lambda t: t.founded).name}."]
    rivers = [river for river in world.rivers if river.region is r]
    for river in rivers:
        state.append(f"The river {river.name} flows for {river.miles} miles from the {river.hills} "
                     f"to the {river.sea}.")
    rows = [f"{t.name}: founded {t.founded}, population {_thousands(t.population)}, {t.trade}."
            for t in sorted(r.towns, key=lambda t: t.founded)]
    start = rng.randrange(len(rows) - 2)
    listing = [[f"The towns of {r.name} in the order of their founding are these."]]
    listing += [[f"- {row}"] for row in rows[start:start + rng.randrange(3, 6)]]
    return r.name, [_some(rng, land, 2), _some(rng, state, 2)] + listing


def river(rng, world):
    r = rng.choice(world.rivers)
    course = [
        f"The {r.name} is a river in {r.region.name}.",
        f"It rises in the {r.hills} and flows into the {r.sea} after {r.miles} miles.",
        f"On its way it passes {join_list([t.name for t in r.towns])}."]
    t = rng.choice(r.towns)
    banks = Prose(rng, world, t.topic).sentences(rng.randrange(2, 5))
    banks.append(f"At {t.name} the boats carry {t.trade}.")
    return f"{r.name} River", [_some(rng, course, 2), banks]


def battle(rng, world):
    b = rng.choice(world.battles)
    outline = [
        f"The {b.name} was fought in {b.month} {b.year} between {b.winner.name} and "
        f"{b.loser.name}.",
        f"General {b.general} led {_thousands(b.soldiers)} {b.winner.adjective} soldiers against "
        f"the army of General {b.rival}.",
        f"Of the {_thousands(b.soldiers)} soldiers of {b.general}, {_thousands(b.fallen)} fell and "
        f"{_thousands(b.soldiers - b.fallen)} returned."]
    days = rng.randrange(2, 9)
    after = [
        f"After {in_words(days)} days {b.rival} laid down the {b.loser.colours[0]} and "
        f"{b.loser.colours[1]} flag of {b.loser.name}.",
        f"{b.winner.name} kept {b.town.name} for {in_words(rng.randrange(3, 13))} years.",
        f"Peace was signed in {b.year + 1} in {b.winner.capital.name}, the capital of "
        f"{b.winner.name}."]
    return b.name, [_some(rng, outline, 2), _some(rng, after, 1)]


def work(rng, world):
    w = rng.choice(world.works)
    a = w.author
    he = "she" if a.female else "he"
    facts = [
        f"{w.title} is {with_article(w.kind)} by the {a.occupation} {a.name}.",
        f"It was first shown in {w.town.name} in {w.year}, when {a.family} was "
        f"{w.year - a.born} years old.",
        f"The {w.kind} tells of {w.subject}.",
        f"{a.family} began it in {w.year - 3} and finished it three years later, while {he} lived "
        f"in {a.residence.name}."]
    scene = ["A famous scene runs as follows.", *Prose(rng, world, w.town.topic).sentences(2),
             f"The last part of {w.title} is set in {rng.choice(world.regions).name}."]
    return w.title, [_some(rng, facts, 2), _some(rng, scene, 1)]


def mineral(rng, world):
    m = rng.choice(world.minerals)
    f = m.finder
    facts = [
        f"{capitalise(m.name)} is {with_article(m.colour)} mineral.",
        f"It is number {m.number} in the {world.regions[0].adjective} table of minerals and has a "
        f"hardness of {in_words(m.hardness)}.",
        f"It was found near {m.town.name} by the {f.occupation} {f.name}.",
        f"{capitalise(m.name)} is used for {m.use}."]
    start = rng.randrange(len(world.minerals) - 3)
    rows = [[f"- {other.number}: {other.name}, {other.colour}, hardness {other.hardness}"]
            for other in world.minerals[start:start + rng.randrange(3, 7)]]
    rows.insert(0, ["Part of the table reads as follows."])
    return capitalise(m.name), [_some(rng, facts, 2)] + rows


def ledger(rng, world):
    t = rng.choice(world.towns)
    goods = [t.trade] + rng.sample(lexicon.TRADES, 2)
    month = rng.randrange(12)
    first = [f"In {lexicon.MONTHS[month]} the market of {t.name} is held on "
             f"{in_words(rng.randrange(2, 9))} days, and in {lexicon.MONTHS[(month + 1) % 12]} "
             f"only once."]
    first += [ledger_sentence(rng, goods) for _ in range(rng.randrange(3, 6))]
    year, step, stock = (rng.randrange(1500, 1690), rng.randrange(2, 13), rng.randrange(20, 90))
    second = [f"The store of {t.trade} grew by {in_words(step)} crates a year."]
    for i in range(rng.randrange(3, 6)):
        second.append(f"In {year + i} there were {stock + i * step} crates.")
    return f"Market of {t.name}", [first, second]


def customs(rng, world):
    t = rng.choice(world.towns)
    prose = Prose(rng, world, t.topic)
    paragraphs = [prose.sentences(rng.randrange(3, 7)) for _ in range(rng.randrange(1, 4))]
    paragraphs[0].insert(0, rng.choice([
        f"In {t.name} and the rest of {t.region.name} old customs are kept.",
        f"The people of {t.name}, like all {t.region.adjective}s, love their habits."]))
    return f"Customs of {t.name}", paragraphs


# How often each kind of article is drawn.
KINDS = [(town, 20), (person, 22), (species, 11), (region, 6), (river, 5), (battle, 8), (work, 8),
         (mineral, 6), (ledger, 6), (tale, 20), (customs, 26)]


def article(rng, world):
    kinds, weights = zip(*KINDS)
    return rng.choices(kinds, weights)[0](rng, world)
