"""Make tokenizers of published vocabularies: the files of GPT-2, RoBERTa and BERT, and `tokenizer.json`.

Ids are those of the files, and of the small ones beside them (`tokenizer_settings`). If one of the five tokens that inputs need
is missing, it gets an id behind the last one.
"""

import hashlib
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, processors

from roberta_lab.axes.spelling import Spelling, kind_of
from roberta_lab.axes.tokenizer import SPECIALS, Encoding, bytelevel_bpe, wordpiece
from roberta_lab.config import ConfigError, TokenizerConfig
from roberta_lab.config.paths import user_path
from roberta_lab.data import tokenizer_limits
from roberta_lab.data.foreign import expect_regular
from roberta_lab.data.tokenizer_settings import CONFIG, GPT2_END, TokenizerSettings

LAYOUTS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"), ("vocab.txt",))
WORD_END = "</w>"  # of BPE that is not GPT-2's
READING = 2  # raised when the same files come to mean other ids


def find(path: str) -> tuple[Path, ...]:
    """Return the files of the vocabulary at `path`: a folder with one of LAYOUTS, or one of their files."""
    place = user_path(path)
    folder = place.parent if place.is_file() else place
    for names in LAYOUTS:
        if all((folder / name).is_file() for name in names) and (folder == place or place.name in names):
            return tuple(folder / name for name in names)
    allowed = ", ".join(" + ".join(names) for names in LAYOUTS)
    odd = "".join(f" {file.name} is a SentencePiece model, which is not supported." for file in folder.glob("*.model"))
    raise ConfigError(f"tokenizer.path={path} holds no published vocabulary. Allowed: a folder with {allowed}.{odd}")


def fingerprint(path: str) -> str:
    """Return the SHA-256 of what makes the tokenizer: the identity of a published vocabulary, in any folder."""
    found = find(path)
    beside = found[0].with_name(CONFIG)
    files = [*found, *([beside] if found[0].name == "vocab.txt" and beside.is_file() else [])]
    hashes = [_sha256(file) for file in files]
    if found[0].name != "tokenizer.json" and (changes := _settings(found, f"tokenizer.path={path}").changes):
        hashes.append(hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).digest())
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def _sha256(path: Path) -> bytes:
    expect_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def load(config: TokenizerConfig) -> Tokenizer:
    """Return the tokenizer at `config.path`, with its special tokens declared.

    Raise ConfigError if the files cannot be read, hold another kind than `config.kind`, or take special tokens for text.
    """
    tokenizer = _open(config.path, where := f"tokenizer.path={config.path}")
    if (kind := kind_of(tokenizer)) != config.kind:
        raise ConfigError(f"{where} holds {kind}, not tokenizer.kind={config.kind}: tokenizer.kind={kind} fits it.")
    return _with_specials(tokenizer)


def load_of_model(folder: Path) -> Tokenizer:
    """Return the tokenizer beside a pretrained model, of any kind that is known here, with its special tokens declared."""
    return _with_specials(_open(str(folder), str(folder)))


def make_inputs(tokenizer: Tokenizer, encoding: Encoding, paired: bool) -> None:
    """Let a tokenizer, whose encoding this is, make whole inputs: `<s> a </s>`, and two texts as `features.PairFormat` does.

    A special token in a text is that token from here on, for whoever uses the tokenizer without the encoding.
    """
    bos, eos, mask = map(tokenizer.id_to_token, (encoding.bos_id, encoding.eos_id, encoding.mask_id))
    # Here a mask holds the space before it: `a <mask>` is two tokens, `a` and the mask.
    tokenizer.add_special_tokens([AddedToken(mask, lstrip=True, normalized=False, special=True)])
    second = f"$B:1 {eos}:1" if paired else f"{eos} $B {eos}"
    first, ends = f"{bos} $A {eos}", [(bos, encoding.bos_id), (eos, encoding.eos_id)]
    tokenizer.post_processor = processors.TemplateProcessing(first, f"{first} {second}", ends)
    tokenizer.encode_special_tokens = False


def _open(path: str, where: str) -> Tokenizer:
    """Return the tokenizer of a folder's files. Raises ConfigError if they cannot be read or are of a kind that is not read."""
    files = find(path)
    settings = _settings(files, where)
    try:
        tokenizer_limits.check_files(files)
        tokenizer_limits.check_added(settings.added or {}, CONFIG)
        tokenizer = _built(files, settings)
        Spelling.of(tokenizer)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except BaseException as error:  # `tokenizers` raises nothing narrower, and its panics are no `Exception`
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ConfigError(f"{where}: {files[0].name} cannot be read: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _built(files: tuple[Path, ...], settings: TokenizerSettings) -> Tokenizer:
    name = files[0].name
    if name == "tokenizer.json":
        tokenizer = Tokenizer.from_file(str(files[0]))
        settings.check(tokenizer)
        return tokenizer
    settings.check_class(files[0])
    tokenizer = _bert(files[0], settings) if name == "vocab.txt" else _gpt2(files, settings)
    settings.add_tokens(tokenizer)
    return tokenizer


def _bert(file: Path, settings: TokenizerSettings) -> Tokenizer:
    pieces, names = file.read_text(encoding="utf-8").splitlines(), SPECIALS[3][::-1]
    unknown = next((name for name in names if name in pieces), None)
    if unknown is None:
        raise ConfigError(f"vocab.txt has no piece for unknown text; allowed are {' and '.join(names)}.")
    model = models.WordPiece.from_file(str(file), unk_token=unknown)
    return wordpiece(model, *settings.cases_of(pieces), settings.tokenize_chinese_chars is not False)


def _gpt2(files: tuple[Path, ...], settings: TokenizerSettings) -> Tokenizer:
    vocabulary, merges = models.BPE.read_file(*map(str, files))
    if any(piece.endswith(WORD_END) for piece in vocabulary):
        raise ConfigError(
            f"{files[0].name} has pieces that end with {WORD_END}: it is no byte-level BPE, as is allowed."
        )
    return bytelevel_bpe(models.BPE(vocabulary, merges), bool(settings.add_prefix_space))


def _settings(files: tuple[Path, ...], where: str) -> TokenizerSettings:
    try:
        return TokenizerSettings.read(files[0].parent)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _with_specials(tokenizer: Tokenizer) -> Tokenizer:
    known = [[name for name in role if tokenizer.token_to_id(name) is not None] for role in SPECIALS]
    style = next((role.index(names[0]) for role, names in zip(SPECIALS, known, strict=True) if names), 0)
    specials = [name for role, names in zip(SPECIALS, known, strict=True) for name in names or [role[style]]]
    specials += [GPT2_END] if tokenizer.token_to_id(GPT2_END) is not None else []
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    return tokenizer
