import pytest

from atp_trio.errors import ConfigError
from atp_trio.hypervisor.credentials import Answerer, Credentials

USERNAME, AUTHNAME, PASSPHRASE, NOECHOPROMPT = 1, 2, 5, 7


def ask(answerer, *kinds):
    questions = [[kind, "prompt", "challenge", None, None] for kind in kinds]
    return answerer(questions, None), [question[4] for question in questions]


def test_user_and_password_are_answered():
    answerer = Answerer(Credentials(username="me", password="secret"), "other")
    assert ask(answerer, AUTHNAME, PASSPHRASE) == (0, ["me", "secret"])
    assert ask(answerer, USERNAME, NOECHOPROMPT) == (0, ["me", "secret"])


def test_the_uris_user_is_the_default():
    assert ask(Answerer(Credentials(), "root"), AUTHNAME) == (0, ["root"])


@pytest.mark.parametrize("kind", [AUTHNAME, PASSPHRASE])
def test_no_answer_ends_the_attempt(kind):
    assert ask(Answerer(Credentials(), None), kind) == (-1, [None])


def test_password_from_a_file_and_from_a_function(tmp_path):
    path = tmp_path / "password"
    path.write_text("from a file\n")
    assert Credentials(password=path).get_password() == "from a file"
    path.write_text("changed")
    assert Credentials(password=path).get_password() == "changed"
    assert Credentials(password=lambda: "computed").get_password() == "computed"


def test_what_cannot_be_read_is_kept_for_the_caller(tmp_path):
    answerer = Answerer(Credentials(username="me", password=tmp_path / "none"), None)
    assert ask(answerer, PASSPHRASE) == (-1, [None])
    assert isinstance(answerer.failure, ConfigError)
    assert "No such file" in str(answerer.failure)


def test_file_that_is_no_text(tmp_path):
    (tmp_path / "password").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Credentials(password=tmp_path / "password").get_password()


def test_function_that_fails_does_not_tell_its_words():
    def fail():
        raise RuntimeError("hunter2")

    with pytest.raises(ConfigError, match="RuntimeError") as caught:
        Credentials(password=fail).get_password()
    assert "hunter2" not in str(caught.value)


def test_password_is_not_shown():
    assert "hunter2" not in repr(Credentials(username="me", password="hunter2"))
