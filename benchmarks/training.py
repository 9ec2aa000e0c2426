"""Steps of training: ours, fairseq's own and those of `transformers`, on a CPU or a GPU.

A step is all that fairseq's trainer does with a batch: forward and backward pass, clipping, optimiser,
metrics. Run as a script, it is a worker (`workers.py`) that answers the requests of `Runner`.
"""

import gc
import math
import platform
import random
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from workers import serve

MASKED = 0.15
PAD = 1
CLASSES = 3
PACKAGES = ("torch", "fairseq-fixed", "transformers")


@dataclass(frozen=True)
class Case:
    """A model, its batch, and how it is trained.

    Attributes:
        kind: a key of STEPS.
        family: "roberta" or "modernbert", which fairseq does not have.
        layers, width, ffn, heads, vocabulary: sizes of the model.
        tokens, length: of a batch, and of each of its sequences, which divides them; fine-tuning
            has the sequences of `task_lengths`.
        fine_tuning: train a classifier and all but the language side.
        bottom: train the layers above these and the head (MiniPost's step 1b); None: adaptation.
        auxiliary: in pretraining, a second head after this layer; 0: none.
        precision: "float32"; "body" (ours: a frozen body in bfloat16); "fp16", "bf16": fairseq's
            options, and autocast for `transformers`.
        dropout: everywhere; of `transformers` it is 0.1.
        lr: learning rate, the same in all steps.
        device: "cpu" or "cuda".
        threads: on a CPU.
        compiler: of `transformers`, the backend of torch.compile; "": it is not compiled.
        rank, processes, meeting: of several processes that train together, and the file through which
            they find each other.
    """

    kind: str
    layers: int
    width: int = 256
    ffn: int = 1024
    heads: int = 4
    vocabulary: int = 8000
    tokens: int = 1024
    length: int = 128
    fine_tuning: bool = False
    bottom: int | None = None
    auxiliary: int = 0
    precision: str = "float32"
    dropout: float = 0.1
    lr: float = 1e-4
    device: str = "cpu"
    threads: int = 1
    compiler: str = ""
    family: str = "roberta"
    rank: int = 0
    processes: int = 1
    meeting: str = ""

    @property
    def sequences(self) -> int:
        return self.tokens // self.length


Step = Callable[[], None]
MakeStep = Callable[[Case, Path], Step]


class Runner:
    """What a worker does when asked: {"make": case}, and then {"steps": number}; or another request.

    Args:
        kinds: of steps, each made of a case and an empty folder.
    """

    def __init__(self, kinds: Mapping[str, MakeStep]) -> None:
        self.kinds = kinds
        self.case: Case | None = None
        self.step: Step | None = None

    def __call__(self, request: dict) -> object:
        ((name, value),) = request.items()
        requests = {"make": self.make, "steps": self.steps, "peak": self.peak, "learn": self.learn}
        return requests[name](value)

    def make(self, case: dict) -> None:
        """Get ready for steps of this case, and forget the one before."""
        self._forget(case)
        with tempfile.TemporaryDirectory() as folder:
            self.step = self.kinds[self.case.kind](self.case, Path(folder))

    def _forget(self, case: dict) -> None:
        import torch

        self.step, self.case = None, Case(**case)
        gc.collect()
        if self.case.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        torch.manual_seed(1)
        torch.set_num_threads(self.case.threads)

    def steps(self, count: int) -> float:
        """Seconds of a step, the mean of so many."""
        if self.case.device == "cpu":
            return self._seconds(count)
        import torch

        self.step()  # allocates what the others were left
        seconds = self._seconds(count)
        torch.cuda.empty_cache()
        return seconds

    def _seconds(self, count: int) -> float:
        synchronise(self.case)
        start = time.perf_counter()
        for _ in range(count):
            self.step()
        synchronise(self.case)
        return (time.perf_counter() - start) / count

    def peak(self, _: object = None) -> int:
        """The most memory so far, in megabytes: of the process, or of this case on the GPU."""
        if self.case.device == "cpu":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        import torch

        return torch.cuda.max_memory_allocated() // 10**6

    def learn(self, request: dict) -> list[float]:
        """Losses of the batch in bits per masked token: at first, and after each of some updates.

        Args:
            request: "case"; "updates", how many; "gradient", a file (.npy) for that of the first
                loss, summed over the masked tokens in nats: all that is trained, one vector of float32.
        """
        import numpy as np
        import torch

        self._forget(request["case"])
        with tempfile.TemporaryDirectory() as folder:
            trainer, batch = make_trainer(self.case, Path(folder))
        loss, predicted = loss_of(trainer, batch)
        loss.backward()
        trained = [one for one in trainer.model.parameters() if one.requires_grad]
        gradient = torch.cat([one.grad.float().flatten() for one in trained])
        np.save(request["gradient"], gradient.cpu().numpy())
        losses = [loss]
        for _ in range(request["updates"]):
            update(trainer, batch)
            losses.append(loss_of(trainer, batch)[0])
        return [loss.item() / predicted / math.log(2) for loss in losses]


def synchronise(case: Case) -> None:
    """Wait for what the device is doing."""
    if case.device == "cuda":
        import torch

        torch.cuda.synchronize()


# ---- steps of fairseq's trainer


def trainer_step(case: Case, folder: Path) -> Step:
    """The step of the trainer of `make_trainer`."""
    trainer, batch = make_trainer(case, folder)
    return lambda: update(trainer, batch)


def update(trainer: Any, batch: dict) -> None:
    """One step."""
    from fairseq.logging import metrics

    with metrics.aggregate("train_inner"):
        trainer.train_step([batch])


def loss_of(trainer: Any, batch: dict) -> tuple[Any, int]:
    """The loss of a batch summed over what it predicts, in nats, and how much that is."""
    from fairseq import utils

    batch = utils.move_to_cuda(batch) if trainer.cuda else batch
    loss, predicted, _ = trainer.criterion(trainer.model, batch)
    return loss, int(predicted)


def make_trainer(case: Case, folder: Path) -> tuple[Any, dict]:
    """fairseq's trainer of a model with random weights, and its batch.

    By kind: "fairseq", its own model, criterion and optimiser, frozen by hand: the body or its
    `bottom` layers, or in fine-tuning the language side; "ours", those of the task
    language_adaptation, of MiniPost's step 1b or of fine-tuning;
    "pretraining", where everything is trained (with one head this is fairseq's model and loss).
    """
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.distributed.utils import distributed_init
    from fairseq.trainer import Trainer

    import fairseq_minimodel
    from fairseq_minimodel.nn.cpu import prepare_process

    fairseq_minimodel.register()
    if case.kind == "ours" and case.device == "cpu":
        prepare_process()
    symbols = case.vocabulary - 5  # <s>, <pad>, </s>, <unk>, <mask>
    for place in (".", "input0"):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / "dict.txt").write_text("".join(f"w{i} 1\n" for i in range(symbols)))
    (folder / "label").mkdir()
    (folder / "label/dict.txt").write_text("".join(f"l{i} 1\n" for i in range(CLASSES)))
    parser = options.get_training_parser()
    given = options.parse_args_and_arch(parser, [str(folder), *options_of(case)])
    cfg = convert_namespace_to_omegaconf(given)
    if case.processes > 1:
        distributed_init(cfg)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    if case.kind == "fairseq":
        freeze(model, case)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    return trainer, make_task_batch(case) if case.fine_tuning else make_batch(case)


def options_of(case: Case) -> list[str]:
    """The options of fairseq-train."""
    if case.fine_tuning:
        given = ["--task", "sentence_prediction", "--num-classes", str(CLASSES)]
        given += ["--criterion", "sentence_prediction"]
    else:
        given = ["--task", "masked_lm", "--tokens-per-sample", "512", "--criterion"]
        given += ["masked_lm" if case.kind == "fairseq" else "joint_masked_lm"]
    given += ["--max-positions", "512"]
    for name, size in {
        "layers": case.layers,
        "embed-dim": case.width,
        "ffn-embed-dim": case.ffn,
        "attention-heads": case.heads,
    }.items():
        given += [f"--encoder-{name}", str(size)]
    given += ["--dropout", str(case.dropout), "--attention-dropout", str(case.dropout)]
    given += ["--clip-norm", "1.0", "--lr", str(case.lr)]
    given += ["--adam-betas", "(0.9,0.98)", "--adam-eps", "1e-6"]
    given += ["--optimizer", "fused_adam" if case.kind == "ours" else "adam"]
    given += ["--arch", "roberta" if case.kind == "fairseq" else f"minimodel_{case.family}"]
    if case.kind == "ours":
        adapted = "body" if case.bottom is None else f"bottom:{case.bottom}"
        given += ["--freeze", "language" if case.fine_tuning else adapted]
        given += ["--body-precision", "bfloat16" if case.precision == "body" else "parameters"]
    if case.auxiliary:
        given += ["--auxiliary-head-layers", str(case.auxiliary)]
    if case.precision in ("fp16", "bf16"):
        given += [f"--{case.precision}"]
    if case.device == "cpu":
        given += ["--cpu"]
    if case.processes > 1:
        given += ["--distributed-world-size", str(case.processes)]
        given += ["--distributed-rank", str(case.rank)]
        given += ["--distributed-init-method", f"file://{case.meeting}"]
        given += ["--distributed-backend", "gloo" if case.device == "cpu" else "nccl"]
        given += ["--ddp-backend", "legacy_ddp" if case.device == "cpu" else "pytorch_ddp"]
    return given


def freeze(model: Any, case: Case) -> None:
    """Of fairseq's model, leave the language side to be trained, or what is above `bottom` layers.

    In fine-tuning, all but the language side.
    """
    for name, parameter in model.named_parameters():
        trained = name.endswith(("embed_tokens.weight", "lm_head.weight", "lm_head.bias"))
        if case.bottom is not None:  # MiniPost's step 1b
            upper = tuple(f".layers.{layer}." for layer in range(case.bottom, case.layers))
            trained = not trained and ("lm_head" in name or any(one in name for one in upper))
        if case.fine_tuning:
            trained = not trained
        parameter.requires_grad_(trained)


def make_batch(case: Case) -> dict:
    """A batch of `masked_lm` of random tokens without padding."""
    import numpy as np
    import torch

    from fairseq_minimodel.kinds.masking import Masking

    shape, mask = (case.sequences, case.length), case.vocabulary - 1
    tokens = np.random.default_rng(1).integers(4, mask, shape)
    tokens[:, 0], lengths = 0, np.full(case.sequences, case.length)
    masking = Masking(mask, 4, mask, MASKED)
    masked, predicted = masking(tokens, lengths, np.random.default_rng(2))
    return {
        "id": torch.arange(case.sequences),
        "net_input": {
            "src_tokens": torch.from_numpy(masked),
            "src_lengths": torch.from_numpy(lengths),
        },
        "target": torch.from_numpy(np.where(predicted, tokens, PAD)),
        "nsentences": case.sequences,
        "ntokens": case.tokens,
    }


def make_task_batch(case: Case) -> dict:
    """A batch of `sentence_prediction` of random tokens."""
    import torch

    lengths = torch.tensor(task_lengths())
    generator = torch.Generator().manual_seed(1)
    shape = len(lengths), int(lengths.max())
    tokens = torch.randint(4, case.vocabulary - 1, shape, generator=generator)
    tokens[:, 0] = 0
    tokens[torch.arange(shape[1]) >= lengths.unsqueeze(1)] = PAD
    return {
        "id": torch.arange(len(lengths)),
        "net_input": {"src_tokens": tokens, "src_lengths": lengths},
        "target": torch.randint(CLASSES, (len(lengths),), generator=generator),
        "nsentences": len(lengths),
        "ntokens": int(lengths.sum()),
    }


def task_lengths() -> list[int]:
    """Of 32 sequences, spread as those of XNLI's pairs are: 41 tokens are the mean, few are long.

    Padded to the longest, 44 % of the batch is padding.
    """
    draw, spread = random.Random(3), 0.4
    place = math.log(41) - spread**2 / 2
    return [round(draw.lognormvariate(place, spread)) for _ in range(32)]


# ---- those of transformers


def transformers_step(case: Case, folder: Path) -> Step:
    """`RobertaForMaskedLM` or `ModernBertForMaskedLM`, body frozen, PyTorch's fused AdamW."""
    import torch
    import transformers

    sizes = {
        "vocab_size": case.vocabulary,
        "hidden_size": case.width,
        "num_hidden_layers": case.layers,
        "num_attention_heads": case.heads,
        "intermediate_size": case.ffn,
        "max_position_embeddings": 514,
        "pad_token_id": PAD,
    }
    if case.family == "modernbert":
        rates = dict.fromkeys(["mlp_dropout", "embedding_dropout", "attention_dropout"], 0.1)
        ends = dict.fromkeys(["bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"], 0)
        config = transformers.ModernBertConfig(**sizes, **rates, **ends)
        model = transformers.ModernBertForMaskedLM(config)
        bias = model.decoder.bias
    else:
        config = transformers.RobertaConfig(**sizes, type_vocab_size=1)
        model = transformers.RobertaForMaskedLM(config)
        bias = model.lm_head.bias
    model = model.train().to(case.device)
    model.requires_grad_(False)
    trained = [model.get_input_embeddings().weight, bias]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(trained, lr=case.lr, betas=(0.9, 0.98), eps=1e-6, fused=True)
    batch = make_batch(case)
    tokens = batch["net_input"]["src_tokens"].to(case.device)
    labels = batch["target"].masked_fill(batch["target"].eq(PAD), -100).to(case.device)
    if case.compiler:
        torch._dynamo.reset()  # of the case before
        model = torch.compile(model, dynamic=False, backend=case.compiler)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(case.device, torch.bfloat16, enabled=case.precision == "bf16"):
            loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()

    return step


STEPS = {
    "fairseq": trainer_step,
    "ours": trainer_step,
    "pretraining": trainer_step,
    "transformers": transformers_step,
}


# ---- what a step computes, and where


def flops_of(case: Case) -> float:
    """FLOPs of a step of a RoBERTa's adaptation, of all processes together, by `cost/flops.py`.

    What is computed, not what has to be: `transformers` projects every position to the vocabulary,
    fairseq the predicted ones; ours leaves out some of the last layer, too.
    """
    from fairseq_minimodel.cost.flops import Shape, masked_lm_flops

    shape = Shape(case.layers, case.width, case.ffn, case.heads, case.vocabulary)
    predicted = int(make_batch(case)["target"].ne(PAD).sum()) / case.tokens
    flops = masked_lm_flops(
        shape,
        case.tokens,
        case.length,
        freeze="body",
        masked_fraction=1.0 if case.kind == "transformers" else predicted,
        predictions_only=case.kind == "ours",
    )
    return case.processes * flops.total


def machine() -> dict[str, str]:
    """The processor, and the versions of what is installed."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {"processor": cpu, **{name: version_of(name) for name in PACKAGES}}


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    serve(Runner(STEPS))
