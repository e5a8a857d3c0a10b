"""Word lists of the invented world, and the small rules of English that need no context."""

MONTHS = ["Rimeturn", "Thawing", "Seedmoon", "Lambtide", "Blossom", "Highsun",
          "Haymonth", "Goldleaf", "Vintage", "Mistfall", "Frostgate", "Longnight"]

NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven",
                "eight", "nine", "ten", "eleven", "twelve"]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh",
            "eighth", "ninth", "tenth", "eleventh", "twelfth"]

COLOURS = ["red", "white", "green", "blue", "grey", "yellow", "black", "brown",
           "violet", "orange", "silver", "golden"]
DIRECTIONS = ["north", "northeast", "east", "southeast",
              "south", "southwest", "west", "northwest"]
CLIMATES = ["mild and wet", "cold and dry", "warm and windy", "hot and dry",
            "cool and foggy", "harsh and snowy"]
GOVERNMENTS = ["a council of elders", "a hereditary duke", "an elected governor",
               "a queen", "a league of merchants", "an abbot"]
TRADES = ["salt", "wool", "copper", "glass", "timber", "honey", "wine", "silk", "amber",
          "barley", "leather", "paper", "pottery", "iron", "olives", "fish", "rope", "dyes"]
LANDMARKS = ["stone bridge", "bell tower", "lighthouse", "old granary", "clock house",
             "walled garden", "round temple", "marble fountain", "covered market",
             "painted gate", "observatory", "library", "windmill", "amphitheatre"]
HABITATS = ["pine forests", "salt marshes", "river banks", "dry hills", "mountain meadows",
            "coastal cliffs", "orchards", "shallow lakes", "sandy plains", "deep caves"]
DIETS = ["seeds and berries", "small fish", "insects", "fallen fruit", "moss and bark",
         "snails", "roots", "mice and frogs"]
USES = ["jewellery", "lamp glass", "ship fittings", "blue dye", "church bells", "roof tiles",
        "medicine", "mirrors", "plough blades", "fine pottery"]
WORK_KINDS = ["novel", "opera", "poem", "treatise", "play", "atlas"]

# occupation -> (kind of work such a person leaves, what such a person does)
OCCUPATIONS = {
    "painter": ("a series of landscapes", "painted"),
    "astronomer": ("a catalogue of stars", "observed"),
    "poet": ("a book of elegies", "wrote"),
    "engineer": ("a system of canals", "built"),
    "physician": ("a treatise on fevers", "practised"),
    "composer": ("a cycle of songs", "composed"),
    "botanist": ("a herbarium", "collected"),
    "historian": ("a chronicle of the wars", "wrote"),
    "architect": ("a plan for the harbour", "built"),
    "mathematician": ("a theory of curves", "taught"),
    "explorer": ("a map of the coast", "travelled"),
    "glassmaker": ("a set of windows", "worked"),
}

# Each topic is a vocabulary of its own. World draws from it who does what to what, and where, so
# that a reader who has learnt these habits and recognised the topic can foresee part of a sentence.
# Verbs are regular unless the past is given after a slash.
_TOPIC_WORDS = {
    "harbour": {
        "nouns": "sailor merchant pilot fisherman captain shipwright diver smuggler rower netmaker "
                 "helmsman stranger cook passenger",
        "adjectives": "weathered patient careful stubborn experienced hungry bold barefoot "
                      "suspicious loyal drowsy tall",
        "verbs": "mend load watch repair fear steer/steered paint buy/bought borrow hide/hid "
                 "find/found empty",
        "objects": "torn nets,grey sails,leaking hull,barrels of salt,crates of fish,coils of rope,"
                   "harbour light,outer reef,broken mast,old pier,winter storms,customs boats,"
                   "long ferries,small black boat,rusty anchor,captain's log,sunken bell,"
                   "wet planks,signal flags,brass compass",
        "places": "on the quay,beside the pier,near the lighthouse,in the bay,at the river mouth,"
                  "among the anchored ships,behind the sea wall,under the upturned boats,"
                  "off the southern cape",
        "times": "before the tide turns,when the fog lifts,after every storm,"
                 "as soon as the wind drops,while the gulls are quiet,on moonless nights"},
    "farm": {
        "nouns": "farmer shepherd miller beekeeper gardener drover ploughman reaper milkmaid "
                 "stableboy cheesemaker widow neighbour thatcher",
        "adjectives": "quiet tireless cheerful thrifty sunburnt early generous clumsy "
                      "superstitious broad-shouldered grumbling kind",
        "verbs": "plant gather feed/fed trim carry praise water sell/sold count bring/brought "
                 "lose/lost bless",
        "objects": "rows of barley,young apple trees,winter beans,ripe pears,sheaves of wheat,"
                   "sweet clover,brown hens,flock of geese,spotted calves,long hedges,old vines,"
                   "pails of milk,sacks of flour,heavy harvest,new plough,black ram,wooden cart,"
                   "jars of honey,rotten fence,clean straw",
        "places": "in the upper field,behind the barn,along the mill stream,in the orchard,"
                  "under the chestnut trees,at the edge of the meadow,beside the duck pond,"
                  "on the terraced slope,inside the hay loft",
        "times": "at first light,when the dew dries,before the harvest feast,"
                 "in the long days of summer,after the last frost,during the lambing weeks"},
    "school": {
        "nouns": "scholar teacher student librarian copyist translator lecturer novice rector "
                 "bookbinder astronomer grammarian examiner messenger",
        "adjectives": "curious strict learned nervous absent-minded famous sleepy argumentative "
                      "short-sighted modest brilliant elderly",
        "verbs": "copy discuss collect correct doubt recite translate teach/taught forget/forgot "
                 "publish defend explain",
        "objects": "ancient manuscript,star tables,long letters,nature of light,laws of motion,"
                   "rules of grammar,rare maps,dried herbs,forgotten proverbs,careless sums,"
                   "age of the world,names of the kings,older poets,missing chapter,"
                   "travels of a monk,copper globe,theory of tides,secret alphabet,"
                   "commentary on the law,cracked lens",
        "places": "in the reading room,under the dome,at the long table,in the quiet cloister,"
                  "beside the great globe,among the high shelves,before the whole faculty,"
                  "on the observatory stairs,outside the lecture hall",
        "times": "after the evening bell,during the winter term,until the candles fail,"
                 "when the examinations are near,on the feast of the founder,every second morning"},
    "mountain": {
        "nouns": "miner guide hunter hermit surveyor mason climber woodsman trapper goatherd "
                 "charcoal-burner pilgrim outlaw prospector",
        "adjectives": "sturdy silent wary solitary sure-footed lonely bearded frostbitten fearless "
                      "ragged devout cunning",
        "verbs": "cross carve follow measure avoid light/lit discover climb guard dig/dug "
                 "abandon see/saw",
        "objects": "high pass,frozen lake,narrow ridge,steps in the rock,blocks of granite,"
                   "small shrine,goat trail,vein of copper,melting stream,depth of snow,"
                   "loose stones,wolves of the valley,signal fire,pine torches,lamps of the mine,"
                   "rope bridge,bear tracks,fallen cedar,hidden spring,abandoned hut",
        "places": "above the tree line,near the summit,in the deep valley,below the glacier,"
                  "at the foot of the cliff,inside the old mine,across the ravine,"
                  "beyond the third peak,among the boulders",
        "times": "while the snow holds,before the first thaw,in the short summer,"
                 "when the clouds come down,after the avalanche,during the hunting season"},
    "town": {
        "nouns": "baker weaver clerk blacksmith tailor watchman cobbler judge candlemaker "
                 "tax-collector innkeeper apothecary beggar alderman",
        "adjectives": "busy honest proud talkative ambitious wealthy greedy punctual retired "
                      "polite short-tempered respected",
        "verbs": "polish guard decorate inspect blame sweep/swept steal/stole order deliver "
                 "weigh replace admire",
        "objects": "warm bread,bolts of linen,iron lamps,painted gate,tax records,city well,"
                   "guild hall,tall shop windows,copper coins,new council,price of grain,"
                   "foreign traders,stone steps,dusty workshop,silver spoons,loaded dice,"
                   "mayor's chain,broken lock,wedding cakes,market scales",
        "places": "in the market square,outside the guild hall,by the city well,"
                  "on the narrow street,between the two towers,in front of the court,"
                  "behind the tannery,at the corner of the arcade,under the town clock",
        "times": "on market days,when the gates open,until the lamps are lit,"
                 "before the council meets,during the spring fair,at the stroke of noon"},
    "theatre": {
        "nouns": "singer actor dancer drummer piper poet painter juggler prompter costumer "
                 "fiddler playwright clown patron",
        "adjectives": "graceful vain gifted penniless restless young jealous melancholy popular "
                      "left-handed witty masked",
        "verbs": "practise/practised rehearse/rehearsed paint applaud tune/tuned imitate/imitated "
                 "interrupt invent mock remember burn/burnt dedicate/dedicated",
        "objects": "wedding songs,slow dance,last act,golden masks,queen of the play,wooden stage,"
                   "false moon,opening lines,velvet cloak,silver flutes,noisy crowd,"
                   "hardest critics,paper lanterns,comic duet,painted forest,broken fiddle,"
                   "duke's portrait,funeral march,old ballad,feathered hat",
        "places": "behind the curtain,on the open stage,in the round theatre,before a full house,"
                  "at the spring festival,among the painted trees,in the duke's box,"
                  "beneath the trapdoor,on the palace lawn",
        "times": "on the first night,when the music stops,after the final bow,"
                 "while the crowd is waiting,during the second act,in the months of mourning"},
}
ADVERBS = ["slowly", "often", "quietly", "rarely", "together", "gladly", "secretly", "twice",
           "again", "alone", "badly", "without a word"]


def past_tense(verb):
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    if verb == "trim":  # the only one here that doubles its consonant
        return "trimmed"
    return verb + ("d" if verb.endswith("e") else "ed")


def _verb(entry):
    base, _, past = entry.partition("/")
    return base, past or past_tense(base)


TOPICS = {
    name: {"nouns": words["nouns"].split(), "adjectives": words["adjectives"].split(),
           "verbs": [_verb(entry) for entry in words["verbs"].split()],
           "objects": words["objects"].split(","), "places": words["places"].split(","),
           "times": words["times"].split(",")}
    for name, words in _TOPIC_WORDS.items()}


def plural(noun):
    if noun.endswith("man"):
        return noun[:-3] + "men"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun + "s"


def third_person(verb):
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    if verb.endswith(("s", "x", "ch", "sh")):
        return verb + "es"
    return verb + "s"


def with_article(phrase):
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def join_list(items):
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + " and " + items[-1]


def in_words(number):
    return NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else str(number)


def capitalise(sentence):
    return sentence[0].upper() + sentence[1:]
