import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.segments import Encoding, measure, what_needs_ucs2
from dispatcher.template import compile_template, rewrite
from dispatcher.transliteration import transliterate


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("“Hi” – it’s…\u00a0on", '"Hi" - it\'s... on'),
        ("Łódź, ç ñ á Ő Œuvre", "Lodz, c ñ a O OEuvre"),
        ("Renée {braces} €5", "Renée {braces} €5"),
        ("e\u0301 a\u0301", "é a"),
        ("ΚΑΛΗΜΕΡΑ", "KAΛHMEPA"),
        ("ﬁne １２", "fine 12"),
        ("Việt Nam", "Viet Nam"),
        ("zero\u200bwidth\u00ad", "zerowidth"),
    ],
)
def test_look_alikes_come_in_for_what_gsm7_lacks(text: str, alike: str) -> None:
    assert transliterate(text) == alike
    assert measure(alike).encoding is Encoding.GSM_7


@pytest.mark.parametrize("text", ["Привет", "🌻", "5½ m²", "20°C", "❤\ufe0f", "日本", "\uff5bname\uff5d"])
def test_what_would_say_something_else_stays(text: str) -> None:
    assert transliterate(text) == text


@given(st.text())
@example("\U0002f8dd")  # Unicode writes it as another character, which is no change of what it says
def test_it_only_ever_helps_and_never_opens_a_placeholder(text: str) -> None:
    alike = transliterate(text)
    assert transliterate(alike) == alike
    assert set(what_needs_ucs2(alike)) <= set(what_needs_ucs2(unicodedata.normalize("NFC", text)))
    assert (alike.count("{"), alike.count("}")) == (text.count("{"), text.count("}"))


def test_names_of_columns_are_no_words() -> None:
    text = "“{prénóm|Señóra “X”}” {{ok}} {ä}"
    assert rewrite(text, words=transliterate) == '"{prénóm|Señóra “X”}" {{ok}} {ä}'
    both = rewrite(text, words=transliterate, default=lambda given: given and transliterate(given))
    assert both == '"{prénóm|Señora "X"}" {{ok}} {ä}'
    assert compile_template(both).fields == compile_template(text).fields
