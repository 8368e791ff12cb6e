"""Secrets of a command are nowhere in what is written and shown; hashes, commits and usual words stay readable."""

from pathlib import Path

import pytest
import yaml

from roberta_lab.cli import main
from roberta_lab.config import ConfigError, one_line
from roberta_lab.config.secrets import masked, masked_values
from roberta_lab.runs import names, registration, run_folder
from roberta_lab.runs.command_line import folded, typed
from roberta_lab.runs.composition import composed, composing
from roberta_lab.runs.identity import directory
from roberta_lab.runs.overrides import expect_unmasked, parse, texts

HEX = "0123456789abcdef0123456789abcdef01234567"
SECRET = "Zq7SECRETzq7"


@pytest.mark.parametrize(
    "text",
    [
        f"logger.notes=https://user:{SECRET}@host/x",
        f"task.path=https://{SECRET}@host/a",
        f"postgres://u:{SECRET}@h:5/d",
        *(f"https://u:{character}{SECRET}{character}@h/x" for character in "/#?"),
        f"https://h/x?a=1&token={SECRET}&b=2",
        f"x?sig={SECRET}%2Fcd&se=1",
        f"https://s3/x?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}",
        f"hf_{SECRET}abcdefghijklmnop",
        f"ghp_{SECRET}abcdefghijkl1234",
        f"github_pat_{SECRET}_abcdefghijkl1234",
        f"sk-proj-{SECRET}abcdefghij",
        f"wandb_v1_{SECRET}abcdefghij",
        f"Authorization: Bearer {SECRET}.def.ghi123",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        *(
            f"{key}={SECRET}"
            for key in ("password", "WANDB_API_KEY", "my_token", "accessToken", "aws_secret_access_key")
        ),
        *(f'"{key}": "{SECRET}"' for key in ("secret", "api_key", "apiKey", "client_secret")),
        f"token='{SECRET} with blanks {SECRET}'",
        f"{{token: {SECRET}}}",
    ],
)
def test_a_secret_is_replaced_and_a_second_look_changes_nothing(text: str) -> None:
    found = masked(f"before {text} behind")
    assert SECRET not in found and "***" in found and found.startswith("before ") and masked(found) == found


@pytest.mark.parametrize("text", [HEX, f"logger.notes={HEX}", f"notes: '{HEX}'", "AKIAIOSFODNN7EXAMPLE"])
def test_keys_without_a_word_before_them_are_found(text: str) -> None:
    assert HEX not in masked(text) and "IOSFODNN7" not in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        f"task.hub.revision={HEX}",
        f"revision: {HEX}",
        f'"commit": "{HEX}"',
        f"hub dataset a/b at {HEX}",
        f"/cache/models--a/snapshots/{HEX}/x",
        f"sha256={'ab' * 32}",
        "outputs/pretrain/7485c5c1954f",
        "tokenizer.path=/a/b data_mix.train_tokens=100000 plan.tokens_per_second=50 tokenizer.vocab_size=300",
        "the special tokens: five of them; unk_token=<unk>; a@b.c; path=/home/user@host/x; monkey=banana; keys: a, b",
        "https://host/path?page=2 masking.mask_prob=0.15 seed=1",
        *("http://localhost:4444/x@y", "http://[::1]:8000/files/a@b/c.jsonl"),
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_values_of_the_environment_are_secrets_where_its_names_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_TOKEN", SECRET)
    monkeypatch.setenv("HF_TOKEN_PATH", "/home/x/token")
    monkeypatch.setenv("OTHER", "usual words")
    monkeypatch.setenv("TOKENIZER_NAME", "bytelevel_bpe")
    assert masked("tokenizer=bytelevel_bpe_50k") == "tokenizer=bytelevel_bpe_50k", "a tokenizer is no token"
    assert masked(f"a {SECRET} b /home/x/token usual words") == "a *** b /home/x/token usual words"
    assert one_line(ValueError(f"asked with {SECRET}")) == "ValueError: asked with ***"


def test_values_are_masked_by_their_keys() -> None:
    found = masked_values({"token": SECRET, "parts": [{"password": SECRET, "n": 1}], "commit": HEX, "notes": HEX})
    assert found == {"token": "***", "parts": [{"password": "***", "n": 1}], "commit": HEX, "notes": "***"}


def test_a_run_has_its_id_by_the_secret_and_no_file_of_it(tmp_path: Path) -> None:
    words = [
        "masking=static",
        f"logger.notes='https://u:{SECRET}@h/x?token={SECRET}'",
        f"logger.tags=['token={SECRET}']",
    ]
    overrides = parse([*words, f"paths.outputs={tmp_path}"])
    registration.register()
    with composing():
        config, plain = composed(overrides), composed(parse(["masking=static", f"paths.outputs={tmp_path}"]))
    path = directory(config, "pretrain")
    assert path == directory(plain, "pretrain") and config.logger.notes is not None and SECRET in config.logger.notes
    with run_folder.opened(path, config, texts(overrides), {}) as is_mine:
        assert is_mine
    everything = [file.read_text() for file in path.iterdir() if file.is_file()]
    assert len(everything) >= 3 and not any(SECRET in text for text in everything)
    assert SECRET not in typed("pretrain", overrides) + folded("pretrain", overrides) + "".join(names.typed(overrides))
    noted = yaml.safe_load((path / "overrides.yaml").read_text())
    assert parse(noted), "status and pages read them"


def test_a_masked_override_is_not_run_again_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["pretrain", "logger.notes=https://***@host/x"]) == 2
    assert "*** stands for a secret" in capsys.readouterr().err
    expect_unmasked(parse(["predict.text=What *** means"]))


def test_refusals_do_not_show_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    for word in (
        f"logger.nots=https://u:{SECRET}@h",
        f"seed=https://u:{SECRET}@h",
        f"passwrd.token={SECRET}",
        f"token={SECRET}",
    ):
        assert main.main(["pretrain", word]) == 2
        assert main.main(["pretrain", word, "--json"]) == 2
    out, err = capsys.readouterr()
    assert SECRET not in out + err and err.count("***") >= 2
    with pytest.raises(ConfigError):
        parse([f"token {SECRET}"])
