import pickle

from autoenc_sg.core.errors import InputError, bad_input, one_line


def test_a_message_is_one_printable_line() -> None:
    assert str(bad_input("a", "b", "c\n d\t e")) == "a: expected b, got c d e"
    assert str(InputError("x\x1b[2Jy\x00\ud800é")) == r"x\x1b[2Jy\x00\ud800é"
    assert str(pickle.loads(pickle.dumps(InputError("a\x07")))) == r"a\x07"


def test_a_long_message_keeps_both_ends() -> None:
    text = one_line("a" * 5000 + "z" * 5000)
    assert len(text) == 1000
    assert text.startswith("a" * 600)
    assert text.endswith("z" * 300)
    assert len(one_line("\x00" * 900)) == 1000  # escapes are longer than what they stand for
    assert one_line("b" * 1000) == "b" * 1000
