"""Make tokenizers of published vocabularies: the files of GPT-2, RoBERTa and BERT, and `tokenizer.json`.

Ids are those of the files. If one of the five tokens that inputs need is missing, it gets an id behind the last one.
"""

import hashlib
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, processors

from roberta_lab.axes.tokenizer import KINDS, SPECIALS, Encoding, bytelevel_bpe, wordpiece
from roberta_lab.config import ConfigError, TokenizerConfig
from roberta_lab.config.paths import user_path

LAYOUTS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"), ("vocab.txt",))
_GPT2_END = "<|endoftext|>"  # special in GPT-2's vocabulary, but not used in inputs here


def find(path: str) -> tuple[Path, ...]:
    """Return the files of the vocabulary at `path`: a folder with one of LAYOUTS, or one of their files."""
    place = user_path(path)
    folder = place.parent if place.is_file() else place
    for names in LAYOUTS:
        if all((folder / name).is_file() for name in names) and (folder == place or place.name in names):
            return tuple(folder / name for name in names)
    allowed = ", ".join(" + ".join(names) for names in LAYOUTS)
    raise ConfigError(f"tokenizer.path={path} holds no published vocabulary. Allowed: a folder with {allowed}.")


def fingerprint(path: str) -> str:
    """Return the SHA-256 of the files: the identity of a published vocabulary, in any folder."""
    found = find(path)
    files = [*found, *_config_beside(found)]
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def load(config: TokenizerConfig) -> Tokenizer:
    """Return the tokenizer at `config.path`, with its special tokens declared.

    Raise ConfigError if the files cannot be read, hold another kind than `config.kind`, or take special tokens for text.
    """
    tokenizer = _open(config.path, where := f"tokenizer.path={config.path}")
    if (kind := _kind(tokenizer)) != config.kind:
        raise ConfigError(f"{where} holds {kind}, not tokenizer.kind={config.kind}: choose the option that fits it.")
    return _with_specials(tokenizer)


def load_of_model(folder: Path) -> Tokenizer:
    """Return the tokenizer beside a pretrained model, of any kind that is known here, with its special tokens declared."""
    tokenizer = _open(str(folder), str(folder))
    if (kind := _kind(tokenizer)) not in KINDS:
        raise ConfigError(f"{folder} holds {kind}. Allowed: {', '.join(KINDS)}.")
    return _with_specials(tokenizer)


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
    files = find(path)
    try:
        if files[0].name == "vocab.txt":
            model = models.WordPiece.from_file(str(files[0]), unk_token="[UNK]")
            return wordpiece(model, _is_uncased(files))
        if files[0].name != "tokenizer.json":
            return bytelevel_bpe(models.BPE.from_file(*map(str, files)))
        tokenizer = Tokenizer.from_file(str(files[0]))
    except Exception as error:  # `tokenizers` raises nothing narrower
        raise ConfigError(f"{where}: {files[0].name} cannot be read: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _with_specials(tokenizer: Tokenizer) -> Tokenizer:
    known = [[name for name in role if tokenizer.token_to_id(name) is not None] for role in SPECIALS]
    style = next((role.index(names[0]) for role, names in zip(SPECIALS, known, strict=True) if names), 0)
    specials = [name for role, names in zip(SPECIALS, known, strict=True) for name in names or [role[style]]]
    specials += [_GPT2_END] if tokenizer.token_to_id(_GPT2_END) is not None else []
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    return tokenizer


def _config_beside(files: tuple[Path, ...]) -> list[Path]:
    """Return `tokenizer_config.json`, which tells only whether a `vocab.txt` is of lower-cased text."""
    config = files[0].with_name("tokenizer_config.json")
    return [config] if files[0].name == "vocab.txt" and config.is_file() else []


def _is_uncased(files: tuple[Path, ...]) -> bool:
    """Return what `tokenizer_config.json` tells; without it, whether only special pieces have upper-case letters."""
    for config in _config_beside(files):
        stated = json.loads(config.read_text(encoding="utf-8")).get("do_lower_case")
        if stated is not None:
            return bool(stated)
    pieces = files[0].read_text(encoding="utf-8").splitlines()
    return not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))


def _kind(tokenizer: Tokenizer) -> str:
    if isinstance(tokenizer.model, models.WordPiece):
        return "wordpiece"
    pre_tokenizer = json.dumps(json.loads(tokenizer.to_str())["pre_tokenizer"])
    if isinstance(tokenizer.model, models.BPE) and '"ByteLevel"' in pre_tokenizer:
        return "bytelevel_bpe"
    return f"a {type(tokenizer.model).__name__} tokenizer"
