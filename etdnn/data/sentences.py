"""Sentences for the synthetic corpus: a small grammar, so that what is said tells nothing about who says it."""

import numpy as np

_WORD_LISTS = """
digit: zero, one, two, three, four, five, six, seven, eight, nine
number: two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, twenty, thirty, forty, fifty,
  ninety
adjective: old, quiet, narrow, yellow, heavy, broken, early, gentle, wooden, famous, empty, bright, careful,
  shallow, hungry, distant, proud, rough, clever, silver, frozen, lucky, sudden, dusty
animal: horse, rabbit, sparrow, tiger, donkey, eagle, salmon, beaver, lizard, monkey, goose, spider
person: captain, teacher, farmer, doctor, neighbour, pilot, singer, baker, lawyer, sister, uncle, painter,
  judge, gardener, soldier
thing: window, basket, kettle, engine, letter, garden, hammer, mirror, pencil, bottle, blanket, ladder, violin,
  ticket, saddle, curtain, lantern, bridge, button, cushion
place: harbour, market, station, village, mountain, kitchen, theatre, forest, valley, castle, library, island,
  office, bakery
verb: carried, opened, painted, followed, forgot, repaired, borrowed, noticed, dropped, measured, covered,
  watched, bought, polished, returned, examined
motion: walked, hurried, drove, travelled, wandered, sailed, climbed, jumped, marched
time: yesterday, this morning, after lunch, before dawn, every winter, late at night, on Thursday, in the
  autumn, again, last July, by five o'clock
call: please, listen, of course, well, I believe that, they say, you know, perhaps
where: behind, above, near, beside, under, inside, opposite, beyond
"""

WORDS = {
    name: [word.strip() for word in words.split(",")]
    for name, words in (entry.split(":") for entry in _WORD_LISTS.replace("\n  ", " ").strip().splitlines())
}

TEMPLATES = (
    "the {adjective} {person} {verb} a {thing}",
    "a {person} and the {person} {motion} to the {place}",
    "{time} my {person} {verb} the {adjective} {thing}",
    "{digit} {digit} {digit} {digit}",
    "{digit} {digit} {digit} {digit} {digit} {digit}",
    "{call} the {animal} {motion} {where} the {place}",
    "{number} {adjective} {thing}s {where} the {thing}",
    "we {verb} {number} {thing}s {time}",
    "{call} she {verb} our {thing} {where} that {place}",
    "his {animal} {verb} her {adjective} {thing}",
    "is the {place} {where} the {adjective} {place}",
    "who {verb} the {thing} of the {person} {time}",
    "call extension {digit} {digit} {digit}",
    "turn left {where} the {place} and wait",
)


def draw_sentence(generator: np.random.Generator, words: int) -> str:
    """Return English text of at least `words` words, clauses of the grammar joined by commas."""
    clauses: list[str] = []
    while sum(len(clause.split()) for clause in clauses) < words:
        template = TEMPLATES[generator.integers(len(TEMPLATES))]
        for name, choices in WORDS.items():
            while f"{{{name}}}" in template:
                template = template.replace(f"{{{name}}}", choices[generator.integers(len(choices))], 1)
        clauses.append(template)
    return ", ".join(clauses) + "."
