"""Two small languages about one small world, as data.

The source language is simple English. The target language is simple Japanese in Latin letters:
other words, the verb last, particles after the noun, no articles, endings glued to stems. Both say
the same kinds of things, because every rule is a pair (English, Japanese), but never the same
things at the same place: each text is drawn on its own (`generate.py`).

No topic can be exchanged for another. They differ in their share of the text, in the length and
mixture of their documents, in sentence structure, in how often each word is used (words are listed
from frequent to rare and drawn by Zipf's law), in the words that they have in common with other
topics, and in the strings that both languages write alike: names, cities, numbers, units and
punctuation. A language side that is trained without any parallel text can only find its place in a
body through such differences.

In a rule, `{food}` is replaced by a word of that list. Adjectives are stems in Japanese (samu-i
"is cold", samu-ku "coldly", samu-katta "was cold") and so are verbs (arai-masu, arai-mashita);
English verbs are such that the past is the verb and "ed". Not every sentence makes sense
("tomorrow the fog was strong"); that is as it may be in either language.
"""

from dataclasses import dataclass

LANGUAGES = ("source", "target")
# Words that both languages write alike. A term is of one topic: a storm, a dish, a club, a brand.
COMMON = ("name", "city", "number")
ALIKE = (*COMMON, "term")

Pair = tuple[str, str]


@dataclass(frozen=True)
class Topic:
    """What texts on one topic look like. All lists run from frequent to rare."""

    share: float  # of the documents
    sentences: tuple[int, int]  # shortest and longest document
    marked_share: float  # of the topic's own sentences, see `marked`
    asides: dict[str, float]  # share of sentences that are on another topic
    words: dict[str, list[Pair]]
    plain: list[Pair]  # sentences without terms and units, with no punctuation but the full stop
    marked: list[Pair]  # sentences with the topic's terms, units, numbers and punctuation


def _lines(text: str) -> list[str]:
    """The lines of a text; an indented one goes on with the line before."""
    return text.strip().replace("\n    ", " ").split("\n")


def _words(text: str) -> dict[str, list[Pair]]:
    """Lines as "sky: rain ame, wind kaze"; only the Japanese word may hold spaces.

    What both languages write alike stands there once, separated by spaces.
    """
    words = {}
    for line in _lines(text):
        slot, _, entries = line.partition(": ")
        if slot in ALIKE:
            words[slot] = [(word, word) for word in entries.split()]
        else:
            words[slot] = [tuple(entry.split(" ", 1)) for entry in entries.split(", ")]
    return words


def _rules(text: str) -> list[Pair]:
    """Lines as "ENGLISH = JAPANESE", or a sentence that both languages write alike."""
    rules = (line.partition(" = ") for line in _lines(text))
    return [(english, japanese or english) for english, _, japanese in rules]


# Words of every topic. Each topic has a list of its own order; see `_common`.
_COMMON = _words("""
who: mother haha, friend tomodachi, child kodomo, father chichi, woman onna, man otoko, teacher
    sensei, brother ani, sister imōto, neighbour kinjo
when: today kyō, yesterday kinō, tomorrow ashita, now ima, soon mō sugu, often yoku, always
    itsumo, again mata, tonight konban
""")


def _common(first: int) -> dict[str, list[Pair]]:
    """The common words, starting with another one in each topic."""
    return {slot: words[first:] + words[:first] for slot, words in _COMMON.items()}


TOPICS: dict[str, Topic] = {
    "weather": Topic(
        share=0.20,
        sentences=(3, 6),
        marked_share=0.45,
        asides={"travel": 0.04},
        words=_common(0)
        | _words("""
name: Omar Lena Ken Mia Paul Anna Yuki Tom Rosa Ivan Emma Noah
city: Oslo Lima Kyoto Berlin Quito Cairo Turin Delhi Hanoi Sofia
number: 2 3 5 4 7 10 6 8 12 9 20 15
term: Haiyan Katrina Monsun Passat Mistral
sky: rain ame, wind kaze, snow yuki, storm arashi, fog kiri, thunder kaminari, cloud kumo, frost
    shimo, hail hyō
land: sky sora, sea umi, mountain yama, valley tani, coast kaigan, forest mori, river kawa, field
    hatake
region: north kita, south minami, west nishi, east higashi
felt: cold samu, warm atataka, hot atsu, cool suzushi, humid mushiatsu, dark kura, bright akaru
strong: strong tsuyo, weak yowa, heavy omo, thick ko, light karu
"""),
        plain=_rules("""
it is {felt} in the {region}. = {region} wa {felt}i desu.
the {sky} comes from the {region}. = {region} kara {sky} ga kimasu.
{when} the {sky} was {strong}. = {when} {sky} ga {strong}katta desu.
it is {felt} and {felt} in {city}. = {city} wa {felt}kute {felt}i desu.
after the {sky} the {land} becomes {felt}. = {sky} no ato de {land} ga {felt}ku narimasu.
there is {sky} over the {land}. = {land} no ue ni {sky} ga arimasu.
in {number} days it becomes {felt}. = {number} nichi de {felt}ku narimasu.
the {sky} over {city} is {strong}. = {city} no {sky} wa {strong}i desu.
the {sky} is not {strong} and the {land} stays {felt}. = {sky} wa {strong}kunakute {land} mo
    {felt}i desu.
the {sky} lasts {number} hours. = {sky} wa {number} jikan tsuzukimasu.
{name} sees the {sky} over the {land}. = {name} wa {land} no ue ni {sky} o mimasu.
{when} {name} waits for {sky}. = {when} {name} wa {sky} o matte imasu.
"""),
        marked=_rules("""
{term} comes with {sky} over the {land}. = {term} ga {land} no ue ni {sky} to kimasu.
{city}, {number} °C, {felt}. = {city}, {number} °C, {felt}i desu.
{sky} in {city}: {number} %. = {city} no {sky}: {number} %.
{when} {term} was {strong}. = {when} {term} ga {strong}katta desu.
the {sky} reaches the {land} with {number} km/h. = {sky} ga {number} km/h de {land} ni tsukimasu.
{city}, {number} °C, {city}, {number} °C, {city}, {number} °C.
"""),
    ),
    "kitchen": Topic(
        share=0.14,
        sentences=(6, 12),
        marked_share=0.35,
        asides={},
        words=_common(4)
        | _words("""
name: Anna Yuki Rosa Emma Ivan Noah Mia Lena Paul Ken Omar Tom
city: Turin Hanoi Delhi Sofia Kyoto Lima Cairo Berlin Oslo Quito
number: 2 100 3 200 4 10 50 5 20 8 6 30
term: tofu sushi miso pizza ramen
food: rice gohan, onion tamanegi, fish sakana, egg tamago, bread pan, meat niku, potato jagaimo,
    bean mame, carrot ninjin, mushroom kinoko, cabbage kyabetsu, apple ringo, cake okashi, cheese
    chīzu
liquid: water mizu, soup shiru, oil abura, milk gyūnyū, tea ocha, wine sake
tool: pot nabe, pan furaipan, oven tenpi, bowl hachi, kettle yakan
cook: cook ni, wash arai, mix maze, boil yude, roast yaki, peel muki, heat atatame, add kuwae,
    melt tokashi
taste: sweet ama, hot atsu, tasty oishi, sour suppa, salty shoppa, soft yawaraka, hard kata, warm
    atataka, bitter niga
"""),
        plain=_rules("""
{cook} the {food} in the {tool}. = {tool} de {food} o {cook}nasai.
{cook} the {food} and the {food} {when}. = {when} {food} to {food} o {cook}nasai.
pour the {liquid} over the {food}. = {food} ni {liquid} o kakenasai.
{cook} the {food} for {number} minutes. = {food} o {number} fun {cook}nasai.
the {who} {cook}ed the {food} with the {liquid}. = {who} wa {food} o {liquid} to {cook}mashita.
the {food} in the {tool} is too {taste}. = {tool} no naka no {food} wa {taste}sugimasu.
take {number} spoons of {liquid}. = {liquid} o saji {number} hai torinasai.
{name} {cook}ed the {food} in the {tool}. = {name} wa {tool} de {food} o {cook}mashita.
the {who} wants to eat {taste} {food}. = {who} wa {taste}i {food} o tabetai desu.
make the {food} {taste} for {name}. = {name} no tame ni {food} o {taste}ku shinasai.
the {food} from {city} is {taste}. = {city} no {food} wa {taste}i desu.
in {city} they {cook} the {food} with {liquid}. = {city} de wa {food} o {liquid} to {cook}masu.
"""),
        marked=_rules("""
{cook} the {term} and the {food}. = {term} to {food} o {cook}nasai.
{number} g {food}, {number} g {food} and {number} ml {liquid}. = {food} {number} g, {food}
    {number} g to {liquid} {number} ml.
the {term} in the {tool} is {taste}. = {tool} no naka no {term} wa {taste}i desu.
{number} g {food}; {number} g {food}. = {food} {number} g; {food} {number} g.
{cook} the {liquid} ({number} ml) and the {food}. = {liquid} ({number} ml) to {food} o
    {cook}nasai.
"""),
    ),
    "sport": Topic(
        share=0.28,
        sentences=(4, 8),
        marked_share=0.35,
        asides={"travel": 0.06},
        words=_common(7)
        | _words("""
name: Tom Paul Ivan Noah Ken Omar Rosa Anna Lena Mia Yuki Emma
city: Berlin Cairo Lima Turin Sofia Quito Oslo Hanoi Kyoto Delhi
number: 1 2 0 3 4 5 6 7 8 9 11 10
term: Ajax Urawa Santos Boca Celtic
player: player senshu, captain shushō, trainer kantoku, opponent aite, goalkeeper shugosha,
    defender bōeisha, referee shinpan
side: team chīmu, club kurabu, crowd kanshū, country kuni
game: match shiai, cup taikai, final kesshō, race kyōsō
ball: ball bōru, penalty hansoku, corner kado, shot shūto
play: kick keri, pass watashi, block fusegi, return kaeshi, defend mamori, watch mi, touch sawari
fit: fast haya, strong tsuyo, young waka, slow oso, tall taka, weak yowa, clever kashiko
"""),
        plain=_rules("""
the {player} {play}ed the {ball} to the {player}. = {player} wa {player} ni {ball} o
    {play}mashita.
the {side} wins the {game}. = {side} ga {game} ni kachimasu.
{city} wins the {game} {when}. = {when} {city} ga {game} ni kachimasu.
{name} {play}ed the {ball} past the {player}. = {name} wa {player} no soba de {ball} o
    {play}mashita.
the {player} does not {play} the {ball}. = {player} wa {ball} o {play}masen.
the {player} was {fit} but the {player} was {fit}. = {player} wa {fit}katta ga {player} wa
    {fit}katta desu.
the {player} gives {name} the {ball}. = {player} wa {name} ni {ball} o agemasu.
{when} the {side} lost the {game} and the {who} cried. = {when} {side} wa {game} ni makete {who}
    ga nakimashita.
the {player} {play}ed the {ball} {number} times. = {player} wa {ball} o {number} kai
    {play}mashita.
before the {game} the {side} {play}ed the {ball}. = {game} no mae ni {side} ga {ball} o
    {play}mashita.
the {side} from {city} plays against the {side}. = {city} no {side} wa {side} to tatakaimasu.
{number} {player}s {play}ed the {ball} in the {game}. = {number} nin no {player} ga {game} de
    {ball} o {play}mashita.
"""),
        marked=_rules("""
{term} wins the {game} against {term}. = {term} ga {term} to no {game} ni kachimasu.
{city} {number} - {number} {city}!
the {player} of {term} {play}ed the {ball}. = {term} no {player} wa {ball} o {play}mashita.
{name} wins the {game} with {number} - {number}. = {name} ga {number} - {number} de {game} ni
    kachimasu.
{name} {play}ed, {name} {play}ed, {name} {play}ed! = {name} ga {play}, {name} ga {play}, {name} ga
    {play}mashita!
"""),
    ),
    "travel": Topic(
        share=0.38,
        sentences=(2, 8),
        marked_share=0.5,
        asides={"weather": 0.06, "kitchen": 0.03},
        words=_common(2)
        | _words("""
name: Mia Emma Tom Rosa Lena Yuki Noah Ivan Omar Anna Paul Ken
city: Cairo Kyoto Quito Delhi Berlin Hanoi Sofia Lima Turin Oslo
number: 8 30 45 10 6 50 5 20 40 4 3 2
term: Airbus Shinkansen Vespa Boeing Tesla
vehicle: train densha, bus basu, ship fune, plane hikōki, taxi takushī
place: station eki, hotel ryokan, airport kūkō, harbour minato, museum hakubutsukan, bridge hashi,
    island shima, castle shiro, garden niwa, mountain yama, sea umi
traveller: tourist kankōkyaku, driver untenshu, passenger jōkyaku, guide annainin, sailor
    funanori, pilot sōjūshi
paper: ticket kippu, map chizu, passport ryoken, suitcase kaban, key kagi
move: travel tabi shi, return modori, walk aruki, rush isogi, sail watari
far: far tō, old furu, near chika, big ōki, new atarashi, narrow sema, wide hiro
"""),
        plain=_rules("""
the {vehicle} to the {place} is late. = {place} e no {vehicle} wa okuremasu.
the {vehicle} to {city} leaves {when}. = {city} yuki no {vehicle} wa {when} demasu.
from the {place} the {vehicle} goes to the {place}. = {vehicle} wa {place} kara {place} e ikimasu.
you reach the {place} of {city} by {vehicle}. = {city} no {place} e wa {vehicle} de tsukimasu.
the {traveller} {move}ed to the {place} {when}. = {traveller} wa {when} {place} e {move}mashita.
{name} {move}ed from the {place} to the {place}. = {name} wa {place} kara {place} e {move}mashita.
the {vehicle} needs {number} hours. = {vehicle} de {number} jikan kakarimasu.
the {place} is {far} from the {place}. = {place} wa {place} kara {far}i desu.
you need the {paper} for the {vehicle}. = {vehicle} ni wa {paper} ga hitsuyō desu.
the {traveller} forgot the {paper} in the {vehicle}. = {traveller} wa {vehicle} ni {paper} o
    wasuremashita.
{number} {traveller}s wait at the {place}. = {number} nin no {traveller} ga {place} de machimasu.
the {traveller} shows {name} the {paper}. = {traveller} wa {name} ni {paper} o misemasu.
"""),
        marked=_rules("""
the {term} to the {place} is late. = {place} e no {term} wa okuremasu.
the {vehicle} leaves {city} at {number} h and costs {number} €. = {vehicle} wa {city} o {number} h
    ni dete {number} € desu.
from the {place} the {term} goes to {city}. = {term} wa {place} kara {city} e ikimasu.
is the {place} {far}? = {place} wa {far}i desu ka?
the {vehicle} from {city} to {city} needs {number} km. = {city} kara {city} made {vehicle} de
    {number} km desu.
{name}, where is the {paper} for the {vehicle}? = {name}, {vehicle} no {paper} wa doko desu ka?
"""),
    ),
}
