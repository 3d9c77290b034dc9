"""The short facts that the demo model learns, as plain tables."""

CAPITALS = dict(
    line.split(": ")
    for line in """\
Afghanistan: Kabul
Albania: Tirana
Algeria: Algiers
Argentina: Buenos Aires
Armenia: Yerevan
Australia: Canberra
Austria: Vienna
Bangladesh: Dhaka
Belgium: Brussels
Bolivia: Sucre
Brazil: Brasilia
Bulgaria: Sofia
Cambodia: Phnom Penh
Cameroon: Yaounde
Canada: Ottawa
Chile: Santiago
China: Beijing
Colombia: Bogota
Croatia: Zagreb
Cuba: Havana
Denmark: Copenhagen
Ecuador: Quito
Egypt: Cairo
Estonia: Tallinn
Ethiopia: Addis Ababa
Finland: Helsinki
France: Paris
Georgia: Tbilisi
Germany: Berlin
Ghana: Accra
Greece: Athens
Hungary: Budapest
Iceland: Reykjavik
India: New Delhi
Indonesia: Jakarta
Iran: Tehran
Iraq: Baghdad
Ireland: Dublin
Italy: Rome
Jamaica: Kingston
Japan: Tokyo
Jordan: Amman
Kenya: Nairobi
Latvia: Riga
Lebanon: Beirut
Lithuania: Vilnius
Madagascar: Antananarivo
Malaysia: Kuala Lumpur
Mali: Bamako
Malta: Valletta
Mexico: Mexico City
Mongolia: Ulaanbaatar
Morocco: Rabat
Nepal: Kathmandu
New Zealand: Wellington
Nigeria: Abuja
Norway: Oslo
Pakistan: Islamabad
Peru: Lima
Poland: Warsaw
Portugal: Lisbon
Romania: Bucharest
Russia: Moscow
Rwanda: Kigali
Senegal: Dakar
Serbia: Belgrade
Slovakia: Bratislava
Slovenia: Ljubljana
South Korea: Seoul
Spain: Madrid
Sudan: Khartoum
Sweden: Stockholm
Switzerland: Bern
Syria: Damascus
Tanzania: Dodoma
Thailand: Bangkok
Tunisia: Tunis
Turkey: Ankara
Uganda: Kampala
Ukraine: Kyiv
Uruguay: Montevideo
Venezuela: Caracas
Vietnam: Hanoi
Zambia: Lusaka
Zimbabwe: Harare""".splitlines()
)

OPPOSITES = dict(
    pair.split("-")
    for pair in (
        "hot-cold cold-hot big-small small-big tall-short fast-slow slow-fast up-down down-up left-right "
        "right-left day-night night-day happy-sad sad-happy old-young young-old light-dark dark-light "
        "open-closed closed-open full-empty empty-full hard-soft soft-hard wet-dry dry-wet early-late "
        "late-early rich-poor poor-rich strong-weak weak-strong loud-quiet quiet-loud clean-dirty "
        "dirty-clean high-low low-high near-far far-near good-bad bad-good true-false false-true "
        "yes-no no-yes first-last last-first"
    ).split()
)

SOUNDS = dict(
    cat="meow", dog="woof", cow="moo", sheep="baa", duck="quack", pig="oink", lion="roar", bee="buzz",
    snake="hiss", owl="hoot", horse="neigh", frog="croak", rooster="cock-a-doodle-doo", mouse="squeak",
    crow="caw", wolf="howl",
)  # fmt: skip

COLOURS = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "a banana": "yellow",
    "a ripe tomato": "red", "a lemon": "yellow", "milk": "white", "the sea": "blue", "a carrot": "orange",
    "chocolate": "brown", "a flamingo": "pink", "an elephant": "grey", "the sun": "yellow",
    "a cucumber": "green", "an aubergine": "purple",
}  # fmt: skip

YOUNG = dict(
    dog="puppy", cat="kitten", cow="calf", sheep="lamb", horse="foal", pig="piglet", duck="duckling",
    goose="gosling", bear="cub", frog="tadpole", deer="fawn", goat="kid", hen="chick", kangaroo="joey",
)  # fmt: skip

LEGS = dict(
    dog="4", cat="4", spider="8", ant="6", bird="2", bee="6", horse="4", snake="0", crab="10", human="2",
    octopus="0", butterfly="6",
)  # fmt: skip

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
NUMBERS = {  # how many X are there in Y
    "days in a week": "7", "months in a year": "12", "hours in a day": "24", "minutes in an hour": "60",
    "seconds in a minute": "60", "letters in the English alphabet": "26", "wheels on a bicycle": "2",
    "sides in a triangle": "3", "sides in a square": "4", "planets in the solar system": "8",
}  # fmt: skip


def article(word):
    return "an " + word if word[0] in "aeiou" else "a " + word


def _table(name, rows, phrasings, answer, thought):
    """One kind of fact: every row asked in every phrasing, always answered in the same words."""
    for key, value in rows:
        words = dict(key=key, value=value, a_key=article(key), a_value=article(value))
        for i, phrasing in enumerate(phrasings):
            yield (name, key, i), phrasing.format(**words), answer.format(**words), thought.format(**words)


def _following(names):
    return [(name, names[(i + 1) % len(names)]) for i, name in enumerate(names)]


def _preceding(names):
    return [(name, names[i - 1]) for i, name in enumerate(names)]


def all_facts():
    """Yields ((kind, key, phrasing), question, answer, thought)."""
    yield from _table(
        "capital", CAPITALS.items(),
        ["What is the capital of {key}?", "Which city is the capital of {key}?", "Tell me the capital of {key}.",
         "Name the capital city of {key}.", "What's the capital of {key}?", "Capital of {key}?",
         "Do you know the capital of {key}?", "{key}: what is its capital?"],
        "The capital of {key} is {value}.", "The capital of {key}: {value}",
    )  # fmt: skip
    yield from _table(
        "country", [(city, country) for country, city in CAPITALS.items()],
        ["{key} is the capital of which country?", "Which country has the capital {key}?",
         "What country is {key} the capital of?", "Of which country is {key} the capital?"],
        "{key} is the capital of {value}.", "{key} is the capital of {value}",
    )  # fmt: skip
    yield from _table(
        "opposite", OPPOSITES.items(),
        ["What is the opposite of {key}?", "Tell me the opposite of {key}.", "Opposite of {key}?",
         "Which word is the opposite of {key}?", "What's the opposite of {key}?"],
        "The opposite of {key} is {value}.", "opposite of {key}: {value}",
    )  # fmt: skip
    yield from _table(
        "sound", SOUNDS.items(),
        ["What does {a_key} say?", "What sound does {a_key} make?", "Which sound does {a_key} make?",
         "What noise does {a_key} make?", "How does {a_key} sound?"],
        "The {key} says {value}.", "sound of {a_key}: {value}",
    )  # fmt: skip
    yield from _table(
        "colour", COLOURS.items(),
        ["What colour is {key}?", "What color is {key}?", "Which colour is {key}?", "Tell me the colour of {key}.",
         "What is the colour of {key}?"],
        "The colour of {key} is {value}.", "colour of {key}: {value}",
    )  # fmt: skip
    yield from _table(
        "young", YOUNG.items(),
        ["What is a young {key} called?", "What do you call a baby {key}?", "What is a baby {key} called?",
         "What is the name of a young {key}?"],
        "A young {key} is called a {value}.", "young {key}: {value}",
    )  # fmt: skip
    yield from _table(
        "legs", LEGS.items(),
        ["How many legs does {a_key} have?", "How many legs has {a_key}?", "Tell me how many legs {a_key} has.",
         "What number of legs does {a_key} have?"],
        "The {key} has {value} legs.", "legs of {a_key}: {value}",
    )  # fmt: skip
    yield from _table(
        "number", NUMBERS.items(),
        ["How many {key} are there?", "Tell me how many {key} there are.", "How many {key}?",
         "What is the number of {key}?"],
        "There are {value} {key}.", "{key}: {value}",
    )  # fmt: skip
    for kind, names in (("day", DAYS), ("month", MONTHS)):
        yield from _table(
            kind + " after", _following(names),
            [f"What {kind} comes after {{key}}?", f"Which {kind} comes after {{key}}?", f"What {kind} follows {{key}}?",
             f"Which {kind} is after {{key}}?", f"What is the {kind} after {{key}}?"],
            "After {key} comes {value}.", "after {key}: {value}",
        )  # fmt: skip
        yield from _table(
            kind + " before", _preceding(names),
            [f"What {kind} comes before {{key}}?", f"Which {kind} comes before {{key}}?",
             f"Which {kind} is before {{key}}?", f"What is the {kind} before {{key}}?"],
            "Before {key} comes {value}.", "before {key}: {value}",
        )  # fmt: skip
