"""The verbs of the command, in the order of `--help`."""

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb.

    Attributes:
        run: the function that does the work, as "module:function"; it gets the options as keywords.
        options: the dataclass of its options, "module:class"; "": it has none.
        help: one line.
        example: the options of one complete command.
        description: what `help` does not say.
    """

    name: str
    run: str
    options: str
    help: str
    example: str
    description: str = ""


VERBS = (
    Verb(
        "adapt",
        "recipes.adapt:adapt",
        "recipes.options:AdaptOptions",
        "a model in a new language, by one command, which prints the commands that it runs",
        "--model roberta-base --text german.txt --language de --parallel english.txt german.txt "
        "--output outputs/de",
        "Imports the model, prepares the text, starts the language from pairs, a word list or the "
        "text alone, trains it where that pays, packs it, scores it without labels, and writes "
        "models for transformers and a report. The same command goes on after an interruption.",
    ),
    Verb(
        "prepare",
        "corpus.prepare:prepare",
        "corpus.options:PrepareVerbOptions",
        "raw text to fairseq's binary data: clean, shuffle, train a vocabulary, encode",
        "--text german.txt --output data/de --vocabulary-size 8000",
    ),
    Verb(
        "prepare-classification",
        "corpus.classification:prepare_classification",
        "corpus.options:PrepareClassificationOptions",
        "labelled sentences or sentence pairs to data for fairseq's sentence_prediction",
        "--train train.tsv --valid dev.tsv --text-columns text --label-column label --dict "
        "data/en/dict.txt --sentencepiece-model data/en/sentencepiece.bpe.model --output "
        "data/topics",
        "Files are TSV or JSON Lines (.jsonl), each perhaps compressed. A column is a name (TSV: "
        "of the header; JSON Lines: a key) or a number from 1 (TSV without header).",
    ),
    Verb(
        "export-benchmark",
        "corpus.benchmarks.export:export_benchmark",
        "corpus.options:ExportBenchmarkOptions",
        "a benchmark's labelled or tagged sentences, as published, to JSON Lines",
        "--benchmark multinli --data multinli_1.0.zip --split train --output mnli.jsonl",
        'Writes one split in one language, one example per line: {"text": ..., "label": ...} or '
        '{"text1": ..., "text2": ..., "label": ...}, or {"words": [...], "tags": [...], "text": ...}.',
    ),
    Verb(
        "prepare-questions",
        "corpus.questions:prepare_questions",
        "corpus.options:PrepareQuestionsOptions",
        "questions with answers in a text (SQuAD's form) to data for the task span_qa",
        "--train train-v1.1.json --valid dev-v1.1.json --dict data/en/dict.txt "
        "--sentencepiece-model data/en/sentencepiece.bpe.model --output data/questions",
        "Files are JSON in the form of SQuAD v1.1, as MLQA, XQuAD and TyDiQA-GoldP are published "
        "in, each perhaps compressed.",
    ),
    Verb(
        "prepare-tags",
        "corpus.tags:prepare_tags",
        "corpus.options:PrepareTagsOptions",
        "sentences with a tag for each word (entities, parts of speech) to data for tagging",
        "--train train.conllu --valid dev.conllu --dict data/en/dict.txt --sentencepiece-model "
        "data/en/sentencepiece.bpe.model --output data/tags",
        "Files are CoNLL-U (UPOS), IOB2 with numbered lines, a word and its tag in each line, "
        "WikiANN's lines, or JSON Lines with the keys words and tags, each perhaps compressed.",
    ),
    Verb(
        "split-pairs",
        "corpus.pairs:split_pairs",
        "corpus.options:SplitPairsOptions",
        "hold the last of line-aligned sentence pairs out, to test on",
        "--parallel english.txt german.txt --test 500 --output data/pairs",
    ),
    Verb(
        "translate-words",
        "corpus.word_by_word:translate_words",
        "corpus.options:TranslateWordsOptions",
        "sentences translated word by word with a word list, where there are no translated ones",
        "--dictionary en-de.tsv --text english.txt --output data/words",
        "Writes sentences.source and sentences.target: to start a language from (start, "
        "--parallel), and to learn sentence vectors from.",
    ),
    Verb(
        "toy",
        "corpus.toy.generate:write_toy",
        "corpus.options:ToyOptions",
        "generate two small languages and a task, to try everything out with",
        "--output toy",
    ),
    Verb(
        "truncate",
        "packs.commands:truncate",
        "packs.options:TruncateOptions",
        "write the bottom layers of a body and the MLM head after them",
        "--body checkpoints/en/checkpoint_last.pt --depth 4 --output checkpoints/mini.pt",
    ),
    Verb(
        "extend",
        "packs.commands:extend",
        "packs.options:ExtendOptions",
        "put a few layers and a head on the bottom layers of a body (MiniPost)",
        "--body checkpoints/en/checkpoint_last.pt --depth 4 --new-layers 2 --output "
        "checkpoints/extended.pt",
    ),
    Verb(
        "pack",
        "packs.commands:pack",
        "packs.options:PackOptions",
        "write the language side of a checkpoint as a pack",
        "--checkpoint checkpoints/de/checkpoint_last.pt --language de --output packs/de",
    ),
    Verb(
        "start",
        "packs.commands:start",
        "packs.options:StartOptions",
        "write a pack that starts a language on a body, without training",
        "--body bodies/en/body.pt --data data/de --language de --initialise aligned --parallel "
        "en.txt de.txt --dictionary en-de.tsv --output packs/de",
        "Writes the language side with which adaptation (fairseq-train, task language_adaptation) "
        "would begin. Where there are translations (--initialise aligned), it is of use as it is.",
    ),
    Verb(
        "plug",
        "packs.commands:plug",
        "packs.options:PlugOptions",
        "write a body with the language of a pack, as a folder that fairseq loads",
        "--body checkpoints/topics/checkpoint_last.pt --pack packs/de --output models/de-topics",
    ),
    Verb(
        "module",
        "packs.commands:module",
        "packs.options:ModuleOptions",
        "write the task module of a checkpoint, apart from its body",
        "--checkpoint checkpoints/topics-compacter/checkpoint_last.pt --output "
        "modules/topics-compacter",
    ),
    Verb(
        "merge",
        "packs.commands:merge",
        "packs.options:MergeOptions",
        "write a body with a task module merged into its weights, where its method allows",
        "--body checkpoints/en/checkpoint_last.pt --module modules/topics-mask --output "
        "checkpoints/topics-masked.pt",
    ),
    Verb(
        "structure",
        "packs.structure:structure",
        "packs.options:StructureOptions",
        "print, and draw, the structure that a task module (tams) has chosen",
        "--module modules/topics-tams --drawing structure.png",
    ),
    Verb(
        "evaluate",
        "evaluation.evaluate:evaluate",
        "evaluation.options:EvaluateOptions",
        "score fine-tuned bodies in the languages of packs: classification, tags, questions",
        "--body checkpoints/topics/checkpoint_last.pt --test packs/en english_test.tsv --test "
        "packs/de german_test.tsv --json scores.json",
        "Either on files of examples, tagged sentences or questions (--test, once per language), or on "
        "a benchmark as it was published (--benchmark, --data, --packs). Bodies made for sentence "
        "vectors are scored on pairs with scores, or on labels by the nearest centroid (--centroids). "
        "Scores that the file of --json has already are not computed again.",
    ),
    Verb(
        "retrieve",
        "evaluation.retrieval:retrieve",
        "evaluation.options:RetrieveOptions",
        "find translations by the hidden states of a body in the languages of packs (no labels "
        "needed)",
        "--body checkpoints/en/checkpoint_last.pt --source-pack packs/en --pack packs/de --data "
        "tatoeba",
        "For each sentence of Tatoeba in a pack's language, or of two line-aligned files, looks for "
        "its English translation among all, and the other way: the sentence whose mean hidden state "
        "is the most similar.",
    ),
    Verb(
        "perplexity",
        "evaluation.perplexity:perplexity",
        "evaluation.options:PerplexityOptions",
        "MLM loss of a body on plain text in the languages of packs (no labels needed)",
        "--body checkpoints/en/checkpoint_last.pt --pack packs/de german_test.txt",
        "Masks 15 % of a text's tokens and says how well the body, with the language of a pack, "
        "predicts them. Give a pretrained body: fine-tuning leaves the MLM head as it was and "
        "changes the layers below it.",
    ),
    Verb(
        "predict",
        "inference.predict:predict",
        "inference.options:PredictOptions",
        "labels, tags, answers, sentence vectors or masked tokens for each line, as JSON Lines",
        "--body checkpoints/topics/checkpoint_last.pt --pack packs/de --input german.txt --output "
        "topics.jsonl",
        "A body that was fine-tuned to classify labels each line, one for tags finds entities or tags "
        "words, one for questions answers them; one that is made for sentence vectors gives the "
        "vector; a pretrained one fills each <mask>. The input is read in portions, "
        "in memory that does not grow with it.",
    ),
    Verb(
        "flops",
        "bodies.commands:flops",
        "bodies.options:FlopsOptions",
        "what pretraining and adaptation will cost: FLOPs, memory and time, before a run",
        "--arch minimodel_roberta_base --depth 4 --languages 5 --gpus 8",
        "Prints the cost of each step and variant. The defaults are the scale of the method's authors: "
        "RoBERTa-base, 125,000 updates of 2048 x 512 tokens.",
    ),
    Verb(
        "inspect",
        "inspect.command:inspect",
        "inspect.options:InspectOptions",
        "what a checkpoint, pack, module, data or tokenizer is, or where two models differ",
        "checkpoints/en/checkpoint_last.pt packs/de data/en",
        "Prints what each path is: sizes, vocabulary, heads, what was frozen, lineage, training "
        "so far. Nothing in it is run.",
    ),
    Verb(
        "report",
        "report.html:report",
        "report.options:ReportOptions",
        "one page from run folders: scores, compute, learning curves, tokenizers, settings",
        "outputs/seed1 outputs/seed2 outputs/seed3 --output report.html",
        "Writes a page of HTML that needs no network, and its charts as PNG. What lies in the "
        "folders, at any depth, is shown: logs of fairseq-train with --log-format json, language "
        "packs, data of prepare, scores (--json of evaluate, retrieve and perplexity).",
    ),
    Verb(
        "import-hf",
        "interop.import_hf:import_hf",
        "interop.options:ImportHFOptions",
        "a model of the RoBERTa or BERT family in Hugging Face's form to a body and a language pack",
        "--model xlm-roberta-base --language en --output bodies/xlmr",
    ),
    Verb(
        "export-hf",
        "interop.export_hf:export_hf",
        "interop.options:ExportHFOptions",
        "a body in the language of a pack to a folder that Hugging Face's transformers loads",
        "--body checkpoints/topics/checkpoint_last.pt --pack packs/de --scores scores.json "
        "--output hf/topics-de",
    ),
    Verb(
        "user-dir",
        "cli:user_dir",
        "",
        "print the folder to give to fairseq's --user-dir",
        "",
    ),
    Verb(
        "examples-dir",
        "cli:examples_dir",
        "",
        "print the folder of the recipes and hydra configs that the documentation uses",
        "",
    ),
    Verb(
        "completion",
        "cli:completion",
        "cli.options:CompletionOptions",
        "print what makes a shell complete verbs and options",
        "bash > ~/.local/share/bash-completion/completions/fairseq-minimodel",
    ),
)
