"""Makes text from outside harmless to a terminal."""


def printable(text: object) -> str:
    """Return text without anything that a terminal would act on."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in str(text))
