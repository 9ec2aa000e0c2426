"""One way to read any benchmark of the table."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ...files.archive import SourceFile, open_source
from ...kinds.questions import LANGUAGE_NAMES
from ...kinds.rows import Split
from .table import ALIASES, BENCHMARKS, SPAN, Benchmark, Form

# Files by the language that their names tell; the key is None where it is the rows that tell it.
Files = Mapping[str | None, Sequence[SourceFile]]


def read_benchmark(
    name: str,
    path: str | Path,
    split: str,
    languages: Collection[str] | None = None,
    bad_offsets: str | None = None,
) -> dict[str, Split]:
    """Read one split of a benchmark from its files as they are published.

    Args:
        name: one of `BENCHMARKS`.
        path: the archive, a folder with the files somewhere below it, or one of the files. Files
            may be compressed (.gz, .xz, .zst) but not renamed.
        split: one of the benchmark's splits.
        languages: codes of the benchmark, or two-letter codes (`ALIASES`); None: all at `path`. For
            MLQA `de` means questions and contexts in German, `de-en` English questions on German
            contexts.
        bad_offsets: of questions, see `read_questions`; None: its default.

    Returns:
        The split in each language, under the codes that were asked for.

    Raises:
        InputError: there is no such benchmark, split, file or language, or a file is not as it was
            published. The message says what there is.
    """
    if name not in BENCHMARKS:
        raise InputError(f"There is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}.")
    benchmark = BENCHMARKS[name]
    options = {} if bad_offsets is None or benchmark.kind != SPAN else {"bad_offsets": bad_offsets}
    if split not in benchmark.splits:
        raise InputError(f"{name} has no split {split!r}; it has {', '.join(benchmark.splits)}.")
    where = f"{path} ({name}, {split})"
    with open_source(path) as sources:
        form, files = _find_files(benchmark, split, sources, where)
        if None in files:
            splits = _read(form, files, options)
            codes = _own_codes(languages, splits, where)
        else:
            codes = _own_codes(languages, files, where)
            splits = _read(form, {code: files[code] for code in codes.values()}, options)
    for code in codes.values():
        if not splits[code].rows:
            reasons = ", ".join(f"{count} {why}" for why, count in splits[code].left_out.items())
            raise InputError(
                f"{where} has no row to use in {code!r} ({reasons or 'an empty file'}); "
                "take the files that have the answers, from the benchmark's authors."
            )
    return {asked: splits[code] for asked, code in codes.items()}


def _find_files(
    benchmark: Benchmark, split: str, sources: Sequence[SourceFile], where: str
) -> tuple[Form, Files]:
    """The first form that is there, and its files."""
    forms = [form for form in benchmark.forms if split in form.splits]
    for form in forms:
        found: dict[str | None, dict[str, SourceFile]] = defaultdict(dict)
        for name in form.names:
            expression = _expression(name, form.splits[split], benchmark)
            for source in sources:
                if match := expression.search(source.name):
                    files = found[_language(match.groupdict(), benchmark)]
                    if name in files:
                        raise InputError(
                            f"{where} has both {files[name].path} and {source.path}; "
                            "give the path of the one that is meant, or of its folder."
                        )
                    files[name] = source
        for files in found.values():
            if len(files) < len(form.names):
                raise InputError(
                    f"{where} has {next(iter(files.values())).path}, but not all of "
                    f"{_readable(form, split)}; put them into one folder."
                )
        if found:
            return form, {language: list(files.values()) for language, files in found.items()}
    names = ", ".join(_readable(form, split) for form in forms)
    raise InputError(f"{where} has no file called {names}; files must keep their names.")


def _expression(name: str, split: str, benchmark: Benchmark) -> re.Pattern[str]:
    codes = benchmark.code or "|".join(benchmark.languages)
    values = {"language": codes, "question": codes, "name": "|".join(LANGUAGE_NAMES)}
    expression = re.escape(name.replace("{split}", split)).replace(r"\*", "[^/]*")
    for key, value in values.items():
        field = re.escape(f"{{{key}}}")
        expression = expression.replace(field, f"(?P<{key}>{value})", 1)
        expression = expression.replace(field, f"(?P={key})")  # the same again
    return re.compile(f"(?:^|/){expression}$")


def _language(fields: Mapping[str, str], benchmark: Benchmark) -> str | None:
    if "name" in fields:
        return LANGUAGE_NAMES[fields["name"]]
    if "language" in fields:
        language, question = fields["language"], fields.get("question")
        return language if question in (None, language) else f"{language}-{question}"
    return benchmark.languages[0] if len(benchmark.languages) == 1 else None


def _readable(form: Form, split: str) -> str:
    names = " and ".join(form.names).replace("{split}", form.splits[split])
    return re.sub(r"\{(\w+)\}", lambda field: field[1].upper(), names)


def _own_codes(
    languages: Collection[str] | None, found: Collection[str], where: str
) -> dict[str, str]:
    """What the benchmark calls each language that is asked for."""
    codes = {}
    for asked in sorted(found) if languages is None else languages:
        own = [code for code in (asked, *ALIASES.get(asked, ())) if code in found]
        if not own:
            there = ", ".join(sorted(found)) or "none"
            raise InputError(f"{where} has no language {asked!r}; there is {there}.")
        codes[asked] = own[0]
    if not codes:
        raise InputError(f"{where}: there is no language to read; name one that it has.")
    return codes


def _read(form: Form, files: Files, options: Mapping[str, str]) -> dict[str, Split]:
    rows: dict[str, list] = {language: [] for language in files if language}
    left_out: dict[str, Counter[str]] = defaultdict(Counter)
    for language, sources in files.items():
        for reading in form.read(sources, language, **options):
            kept = rows.setdefault(reading.language, [])
            if reading.left_out:
                left_out[reading.language][reading.left_out] += 1
            else:
                kept.append(reading.row)

    def split(language: str) -> Split:
        paths = tuple(source.path for source in files.get(language) or files[None])
        return Split(language, paths, tuple(rows[language]), dict(left_out[language]))

    return {language: split(language) for language in rows}
