"""Make the synthetic corpus of egs/mini (espeak-ng voices; no person speaks in it).

Writes CORPUS/{wav,noise,rirs}, speakers.tsv, sessions.tsv, trials.txt and corpus.json, all of it SYNTHETIC. The same
options give the same bytes, for any number of jobs. A corpus that is there and current is left alone.
"""


def add_arguments(parser) -> None:
    """Add the options of `synthesise-corpus`."""
    parser.add_argument("corpus", help="folder to make; an earlier synthetic corpus in it is replaced")
    parser.add_argument("--train-speakers", type=int, default=160, metavar="N", help="[%(default)s]")
    parser.add_argument("--dev-speakers", type=int, default=20, metavar="N", help="[%(default)s]")
    parser.add_argument("--test-speakers", type=int, default=20, metavar="N", help="[%(default)s]")
    parser.add_argument("--sessions", type=int, default=3, metavar="N", help="per speaker [%(default)s]")
    parser.add_argument("--utterances", type=int, default=4, metavar="N", help="per session [%(default)s]")
    parser.add_argument("--noises", type=int, default=60, metavar="N", help="noises for augmentation [%(default)s]")
    parser.add_argument("--rooms", type=int, default=60, metavar="N", help="rooms for augmentation [%(default)s]")
    parser.add_argument(
        "--babble-speakers", type=int, default=12, metavar="N", help="further voices for augmentation [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw [%(default)s]")
    parser.add_argument("--nj", type=int, default=1, metavar="N", help="parallel processes [%(default)s]")
    parser.add_argument("--force", action="store_true", help="make it even if it is current")


def run(args) -> None:
    """Make the corpus and print its counts."""
    from dataclasses import fields

    from etdnn.data.synthetic import CorpusOptions, synthesise_corpus

    options = CorpusOptions(**{field.name: getattr(args, field.name) for field in fields(CorpusOptions)})
    counts = synthesise_corpus(args.corpus, options, jobs=args.nj, force=args.force)
    state = "made" if counts["made"] else "is current, left as it is"
    print(
        f"{args.corpus}: synthetic corpus {state}: {counts['speakers']} speakers, {counts['sessions']} sessions, "
        f"{counts['utterances']} utterances; {counts['targets']} target and {counts['nontargets']} nontarget trials"
    )
