"""The ticket: what the client encrypts the server reads, and nothing else, and no secret is ever shown."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from atp_trio.errors import ConfigError, MalformedMessage
from atp_trio.spice.messages.link import PUBLIC_KEY_SIZE, TICKET_SIZE
from atp_trio.spice.protocol.ticket import TicketKey, check_password, encrypt_ticket, prepare

SECRET = "correct horse battery staple"


def der(private) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("password", [b"", b"x", SECRET.encode(), "pässwörd".encode(), b"\xff\xfe", b"p" * 60])
def test_the_server_reads_what_the_client_encrypted(key, password):
    ticket = encrypt_ticket(key.public_key, password)
    assert len(ticket) == TICKET_SIZE
    assert key.decrypt(ticket) == password


def test_two_tickets_of_one_password_differ(key):
    assert encrypt_ticket(key.public_key, b"x") != encrypt_ticket(key.public_key, b"x")


def test_the_key_is_as_long_as_the_link_reply_has_room_for(key):
    assert len(key.public_key) == PUBLIC_KEY_SIZE


def test_another_key_does_not_read_the_ticket(key):
    assert TicketKey.generate().decrypt(encrypt_ticket(key.public_key, b"x")) is None


@pytest.mark.parametrize("ticket", [b"", bytes(127), bytes(128), b"\xff" * 128, bytes(129)])
def test_what_is_no_ticket_is_none(key, ticket):
    assert key.decrypt(ticket) is None


def test_the_server_reads_up_to_the_first_nul(key):
    # A client that pads, or one that ends without a NUL (SPICE's server compares C strings).
    public = key._private.public_key()
    from atp_trio.spice.protocol.ticket import _oaep

    assert key.decrypt(public.encrypt(b"ab\0cd", _oaep())) == b"ab"
    assert key.decrypt(public.encrypt(b"ab", _oaep())) == b"ab"
    assert key.decrypt(public.encrypt(b"p" * 86, _oaep())) == b"p" * 86  # CVE-2013-4282: longer than any password


@pytest.mark.parametrize("password", ["p" * 60, b"p" * 60, "ä" * 30])
def test_sixty_bytes_are_the_longest_password(password):
    assert len(check_password(password)) == 60


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        (SECRET * 3, "at most 60 bytes, this one has 84"),
        (SECRET.encode() * 3, "at most 60 bytes, this one has 84"),
        (SECRET + "ä" * 17, "at most 60 bytes, this one has 62"),
        (SECRET + "\0", "NUL"),
        (SECRET.encode() + b"\0", "NUL"),
        (SECRET + "\ud800", "half of a surrogate pair"),
    ],
)
def test_a_password_that_cannot_be_one_is_refused_and_not_shown(password, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        check_password(password)
    assert caught.value.__context__ is None  # an error beneath could hold the password
    assert "horse" not in str(caught.value)


@pytest.mark.parametrize("password", [b"p" * 61, b"p\0"])
def test_a_ticket_is_made_of_a_password_only(key, password):
    with pytest.raises(ConfigError):
        encrypt_ticket(key.public_key, password)


@pytest.mark.parametrize(
    "public_key",
    [
        b"",
        b"0",
        bytes(PUBLIC_KEY_SIZE),
        b"\xff" * PUBLIC_KEY_SIZE,
        der(ec.generate_private_key(ec.SECP256R1())),
        der(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ],
    ids=["empty", "short", "zeros", "ones", "EC", "RSA-2048"],
)
def test_a_key_that_is_not_rsa_1024_is_refused(public_key):
    with pytest.raises(MalformedMessage, match="RSA key"):
        encrypt_ticket(public_key, SECRET.encode())


def test_every_prefix_of_a_key_is_refused(key):
    for length in range(PUBLIC_KEY_SIZE):
        with pytest.raises(MalformedMessage, match="RSA key"):
            encrypt_ticket(key.public_key[:length], b"")


def ticket_or_error(public_key: bytes) -> bytes | MalformedMessage:
    try:
        return encrypt_ticket(public_key, SECRET.encode())
    except MalformedMessage as error:
        return error


@pytest.mark.parametrize("at", range(PUBLIC_KEY_SIZE))
def test_a_key_with_one_byte_wrong_gives_a_ticket_or_the_error(key, at):
    for value in {0, 1, key.public_key[at] ^ 0x80, 0xFF}:
        answer = ticket_or_error(key.public_key[:at] + bytes([value]) + key.public_key[at + 1 :])
        if isinstance(answer, bytes):
            assert len(answer) == TICKET_SIZE
        else:
            assert "horse" not in f"{answer!r} {answer.__cause__!r}"


def test_the_private_key_is_not_shown(key):
    assert "private" not in repr(key)
    assert repr(key).startswith("TicketKey(public_key=")


def test_preparing_can_be_done_twice():
    prepare()
    prepare()
    assert check_password("") == b""
