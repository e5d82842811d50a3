"""What an encoder is taught, in order: what changes together, then what failed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from foretest.durable import write_text
from foretest.errors import BadConfiguration, BadModel
from foretest.platform.encoder.checkpoints import Folder, Progress, Step, Training, weights
from foretest.platform.encoder.cochanges import CochangePairs, fitting
from foretest.platform.encoder.config import EncoderConfig, parameters
from foretest.platform.encoder.distributed import Workers, fit
from foretest.platform.encoder.loop import train
from foretest.platform.encoder.model import CodeEncoder
from foretest.platform.encoder.pairs import PairSource
from foretest.platform.encoder.published import CARD, TOKENIZER, read_published
from foretest.platform.encoder.settings import Settings
from foretest.platform.encoder.tokenizer import CodeTokenizer
from foretest.platform.encoder.undone import UndonePairs
from foretest.platform.tracking.lineage import digest_of

COCHANGES, UNDONE = "cochanges", "undone"
"""The two stages; each has a folder of pairs, and one of checkpoints."""
TRAINING = "training.json"
"""Which training a folder belongs to."""


def teach(
    config: EncoderConfig,
    pairs: Path,
    out: Path,
    stages: Mapping[str, Settings],
    report: Callable[[str, Step], object],
    begin: str | None = None,
    threads: int | None = None,
    workers: Workers | None = None,
    storage: str = "",
) -> dict[str, Progress]:
    """Train stage by stage in the order given, each going on from the one before.

    A stage that was cut off goes on from its newest checkpoint; a folder that holds a training by
    other settings, or on other pairs, is refused (BadConfiguration). `begin` is the place of a
    published encoder whose weights are the start, `threads` those of the CPU (None: all cores).
    `workers` share each stage by Ray Train, their checkpoints in `storage` (`distributed.fit`;
    empty: below `out`). Writes the card and the tokenizer beside the checkpoints.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(next(iter(stages.values())).seed)
    fitting(pairs / TOKENIZER, config)
    model = CodeEncoder(config) if begin is None else _begun(begin, config, pairs)
    digest = _claimed(out, _asked(config, pairs, stages, None if begin is None else model))
    shutil.copyfile(pairs / TOKENIZER, out / TOKENIZER)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    done: dict[str, Progress] = {}
    for stage, settings in stages.items():
        source, told = _source(stage, pairs), partial(report, stage)
        if workers is None:
            done[stage] = train(model, source, settings, told, Folder(out / stage))
        else:
            place, name = storage or str(out / "workers"), f"{stage}-{digest}"
            done[stage] = _shared(model, source, settings, workers, place, name, out / stage, told)
        card = {
            "config": config.to_json(),
            "parameters": parameters(config),
            "tokenizer": CodeTokenizer.read(out / TOKENIZER).digest,
            "stages": {name: _figures(done[name], stages[name]) for name in done},
        }
        write_text(out / CARD, json.dumps(card, indent=1) + "\n")
    return done


def _shared(
    model: CodeEncoder,
    source: PairSource,
    settings: Settings,
    workers: Workers,
    storage: str,
    name: str,
    out: Path,
    told: Callable[[Step], object],
) -> Progress:
    """One stage on many workers; the model has its weights, and `out` a checkpoint of them."""
    finished = Folder(out).newest()
    if finished is not None and finished.name == f"step-{settings.steps:08d}":
        return weights(model, finished)
    start = {name: weight.detach().cpu() for name, weight in model.state_dict().items()}
    fitted = fit(model.config, source, settings, workers, storage, name, start)
    model.load_state_dict(fitted.model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters())
    Folder(out).keep(Training(model, optimiser, fitted.progress))
    for step in fitted.progress.curve:
        told(step)
    return fitted.progress


def _asked(
    config: EncoderConfig, pairs: Path, stages: Mapping[str, Settings], begun: CodeEncoder | None
) -> dict[str, Any]:
    """All that the weights follow from; how often they are kept is no part of it."""
    start = b"".join(w.numpy().tobytes() for w in begun.state_dict().values()) if begun else b""
    return {
        "pairs": digest_of(pairs),
        "begin": sha256(start).hexdigest()[:16] if begun else "",
        **config.to_json(),
        **{
            f"{name} of {stage}": value
            for stage, settings in stages.items()
            for name, value in asdict(settings).items()
            if name != "keep_every"
        },
    }


def _claimed(out: Path, asked: Mapping[str, Any]) -> str:
    """Keep `out` for the training that is asked for; its digest."""
    path = out / TRAINING
    text = json.dumps(asked, indent=1, sort_keys=True)
    if any((out / stage).exists() for stage in (COCHANGES, UNDONE)):
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            before = {}
        other = [name for name in {**asked, **before} if before.get(name) != asked.get(name)]
        if other:
            named = f"with other {', '.join(other)}" if before else "of which nothing is known"
            raise BadConfiguration(
                f"{out} holds another training, {named}.",
                "Name another folder (--model), or delete this one to begin anew.",
            )
    write_text(path, text + "\n")
    return sha256(text.encode()).hexdigest()[:12]


def read_encoder(folder: Path) -> tuple[CodeEncoder, CodeTokenizer]:
    """The newest weights of the last stage taught, in evaluation; raises BadModel without any."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        config, stage = EncoderConfig.from_json(card["config"]), list(card["stages"])[-1]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadModel(f"There is no encoder in {folder}.", "Train it: encoder train.") from error
    tokenizer = CodeTokenizer.read(folder / TOKENIZER)
    place = Folder(folder / stage).newest()
    if tokenizer.digest != card["tokenizer"] or place is None:
        raise BadModel(
            f"The encoder in {folder} has lost its weights or its tokenizer.", "Train it again."
        )
    model = CodeEncoder(config)
    weights(model, place)
    return model.eval(), tokenizer


def _begun(place: str, config: EncoderConfig, pairs: Path) -> CodeEncoder:
    model, tokenizer = read_published(place)
    if model.config != config or tokenizer.digest != CodeTokenizer.read(pairs / TOKENIZER).digest:
        raise BadModel(
            f"The encoder at {place} has another shape or tokenizer than this training.",
            f"Name its --size, and put its {TOKENIZER} into the folder before pairs are made.",
        )
    return model


def _source(stage: str, pairs: Path) -> PairSource:
    return (UndonePairs if stage == UNDONE else CochangePairs).read(pairs / stage)


def _figures(progress: Progress, settings: Settings) -> dict[str, Any]:
    """How the stage went: its settings, what it took, and its loss by tenths of its steps."""
    seconds = sum(step.seconds for step in progress.curve)
    tenth = max(progress.steps // 10, 1)
    parts = [progress.curve[at : at + tenth] for at in range(0, progress.steps, tenth)]
    return {
        "settings": asdict(settings),
        "tokens": progress.tokens,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(progress.tokens / max(seconds, 1e-9)),
        "loss": [round(sum(step.loss for step in part) / len(part), 4) for part in parts],
    }
