import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import InputError
from dispatcher.ledger.rows import ExcludedRow, Exclusion, PlannedBatch, PlanTotals
from dispatcher.message import MESSAGES_PER_BATCH
from dispatcher.msisdn import normalise_column
from dispatcher.planning import Chunk, LeftOut, Plan, find_fields, find_phone_column, open_recipients
from dispatcher.planning.cutting import Cutter
from dispatcher.planning.limits import encoded_sizes
from dispatcher.planning.sample import COUNTRY, HEADER, write_sample
from dispatcher.provider import Capabilities
from dispatcher.segments import count_segments
from dispatcher.template import compile_template, unpack_fields

DUE = datetime(2030, 1, 1, tzinfo=UTC)
WIDE = Capabilities(messages_per_request=1000)


OPTED_OUT = "suppressed: opted out"


def nobody(_numbers: Sequence[int]) -> dict[int, str]:
    return {}


def planned(
    csv: str | bytes,
    text: str = "Sale today",
    *,
    capabilities: Capabilities = WIDE,
    suppressed: LeftOut = nobody,
    phone: str = "phone",
    country: str | None = "US",
    **more: Any,
) -> tuple[list[PlannedBatch], list[ExcludedRow], PlanTotals]:
    with open_recipients(io.BytesIO(csv.encode() if isinstance(csv, str) else csv)) as recipients:
        plan = Plan(
            header=recipients.header,
            template=compile_template(text),
            phone_column=phone,
            country=country,
            provider="winsms",
            capabilities=capabilities,
            suppressed=suppressed,
            due_at=DUE,
            **more,
        )
        batches: list[PlannedBatch] = []
        excluded: list[ExcludedRow] = []
        for step in plan.steps(recipients):
            if isinstance(step, PlannedBatch):
                batches.append(step)
            else:
                excluded += step
        return batches, excluded, plan.totals


def us(line: int) -> int:
    return 12025550000 + line


def numbers(count: int, first: int = 100) -> str:
    return "phone,name\n" + "".join(f"{us(first + at)},name {at}\n" for at in range(count))


def test_one_text_for_everyone() -> None:
    [batch], excluded, totals = planned(numbers(3), send_at=DUE, sender="Shop")
    assert batch == PlannedBatch(
        numbers=[us(100), us(101), us(102)],
        rows=[1, 2, 3],
        segments=[1, 1, 1],
        fields=None,
        due_at=DUE,
        send_at=DUE,
    )
    assert excluded == []
    assert totals == PlanTotals(rows=3, messages=3, batches=1, segments=3)


def test_a_text_with_fields_keeps_only_what_it_uses() -> None:
    csv = "Phone,First Name,town\n(202) 555-0123, Ann ,Rome\n202-555-0124,Bo\tb,Oslo\n"
    [batch], _, _ = planned(csv, "Hi {first_name}" + "x" * 160)
    assert batch.fields is not None
    assert unpack_fields(batch.fields) == {"first_name": ["Ann", "Bo b"]}
    assert batch.numbers == [us(123), us(124)]
    assert batch.segments == [2, 2]


def test_every_row_is_accounted_for_with_a_reason() -> None:
    csv = "phone,name\n202-555-0123,Ann\nn/a,Bob\n+1 (202) 555 0123,Ann again\n,\n202-555-0124,Gone\n2025550125,\n"
    batches, excluded, totals = planned(csv, "Hi {name|there}", suppressed=lambda _: {us(124): OPTED_OUT})
    assert [batch.rows for batch in batches] == [[1, 6]]
    assert excluded == [
        ExcludedRow(row=2, kind=Exclusion.INVALID, number="n/a", reason="invalid: not a number"),
        ExcludedRow(row=3, kind=Exclusion.DUPLICATE, number="+1 (202) 555 0123", reason="duplicate of row 1"),
        ExcludedRow(row=4, kind=Exclusion.INVALID, number="", reason="invalid: empty"),
        ExcludedRow(row=5, kind=Exclusion.SUPPRESSED, number="202-555-0124", reason="suppressed: opted out"),
    ]
    assert totals == PlanTotals(rows=6, messages=2, duplicates=1, invalid=2, suppressed=1, batches=1, segments=2)


def test_suppression_is_asked_once_a_chunk_for_distinct_numbers() -> None:
    asked: list[list[int]] = []

    def suppressed(numbers: Sequence[int]) -> dict[int, str]:
        asked.append(list(numbers))
        return {us(199): OPTED_OUT}  # one that is not in the list does no harm

    planned(numbers(3) + f"{us(100)},again\nbad,bad\n", suppressed=suppressed)
    assert asked == [[us(100), us(101), us(102)]]


def test_a_duplicate_of_a_suppressed_or_earlier_row_names_the_first() -> None:
    csv = f"phone\n{us(100)}\n{us(100)}\n{us(100)}\n"
    _, excluded, _ = planned(csv, suppressed=lambda _: {us(100): OPTED_OUT})
    assert [row.reason for row in excluded] == [
        "suppressed: opted out",
        "duplicate of row 1",
        "duplicate of row 1",
    ]


def test_duplicates_are_found_across_chunks() -> None:
    plan = Plan(
        header=["phone"],
        template=compile_template("Sale"),
        phone_column="phone",
        country=None,
        provider="winsms",
        capabilities=WIDE,
        suppressed=nobody,
        due_at=DUE,
    )
    chunks = [Chunk(rows=[row], lines=[row + 1], columns={"phone": [f"+{us(100)}"]}) for row in (1, 2)]
    steps = list(plan.steps(chunks))
    assert isinstance(steps[0], list)
    assert steps[0][0].reason == "duplicate of row 1"
    assert plan.totals == PlanTotals(rows=2, messages=1, duplicates=1, batches=1, segments=1)


def test_what_stood_for_a_number_is_kept_within_reason() -> None:
    _, [row], _ = planned("phone\n" + "x" * 5000 + "\n")
    assert row.number == "x" * 64


# --- What cannot be planned ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("csv", "text", "more", "message"),
    [
        ("mobile,name\n1,2\n", "Sale", {}, "no column phone; did you mean mobile.*columns: mobile, name"),
        ("phone_no,name\n1,2\n", "Sale", {}, "did you mean phone_no"),
        ("who,name\n1,2\n", "Sale", {}, "no column phone. Its columns: who, name"),
        ("Phone,phone \n1,2\n", "Sale", {"phone": "PHONE"}, "PHONE may be any of Phone, phone"),
        ("phone,first_name\n1,2\n", "Hi {fist_name|x}", {}, r"did you mean \{first_name\}"),
        ("phone,name\n1,2\n", "Hi {code|}", {}, r"\{code\}, but the list has no such column. Its columns: phone"),
        ("phone,A b,a_b\n1,2,3\n", "Hi {A_B}", {}, "may be any of A b, a_b"),
        ("phone\n1\n", "Sale", {"country": "XX"}, "no country XX"),
        ("phone\n1\n", "Sale", {"country": "us"}, "two capital letters"),
        (
            "phone\n1\n",
            "Sale",
            {"sender": "Shop", "capabilities": Capabilities(messages_per_request=1, sender=False)},
            "winsms takes no sender id",
        ),
        (
            "phone\n1\n",
            "x" * 1000,
            {"capabilities": Capabilities(messages_per_request=1, segments=6)},
            "the text of 7 segments: winsms carries 6",
        ),
        (
            "phone\n1\n",
            "x" * 161,
            {"capabilities": Capabilities(messages_per_request=1, characters=160)},
            "the text of 161 characters: winsms carries 160",
        ),
        (
            "phone\n1\n",
            "Hi 🎉",
            {"capabilities": Capabilities(messages_per_request=1, unicode=False)},
            "the text with 🎉: winsms carries GSM-7 only",
        ),
        (
            "phone\n1\n",
            "x" * 90,
            {"capabilities": Capabilities(messages_per_request=1, bytes_per_request=100, bytes_per_message=20)},
            "the text of 112 bytes: winsms carries 100",
        ),
        ("phone,name\n2025550100,a\n2025550101,\n", "Hi {name}", {}, r"line 3 has no name: .*\{name\|there\}"),
        (
            "phone,name\n2025550100,\n\n2025550101, \n2025550102,a\n2025550103\n",
            "Hi {name}",
            {},
            "lines 2, 4 and 6 have no name",
        ),
        (
            "phone,name\n" + "".join(f"{us(100 + n)},\n" for n in range(9)),
            "{name}",
            {},
            "2, 3, 4, 5, 6 and more have",
        ),
    ],
)
def test_what_cannot_be_planned(csv: str, text: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        planned(csv, text, **more)


def test_a_value_may_be_missing_where_there_will_be_no_message() -> None:
    csv = f"phone,name\n{us(100)},Ann\n{us(100)},\nbad,\n{us(101)},\n"
    _, excluded, totals = planned(csv, "Hi {name}", suppressed=lambda _: {us(101): OPTED_OUT})
    assert totals.messages == 1
    assert len(excluded) == 3


@pytest.mark.parametrize(
    ("value", "capabilities", "reason"),
    [
        ("x" * 1000, {"segments": 6}, "invalid: text of 7 segments: winsms carries 6"),
        ("x" * 98, {"characters": 100}, "invalid: text of 101 characters: winsms carries 100"),
        ("🎉" * 49, {"characters": 100}, "invalid: text of 101 characters: winsms carries 100"),
        ("ç🎉ç", {"unicode": False}, "invalid: text with ç🎉: winsms carries GSM-7 only"),
        (
            "é" * 40,
            {"bytes_per_request": 100, "bytes_per_message": 20},
            "invalid: text of 105 bytes: winsms carries 100",
        ),
    ],
)
def test_a_text_that_the_provider_cannot_carry_excludes_its_row(
    value: str, capabilities: dict[str, Any], reason: str
) -> None:
    csv = f"phone,name\n{us(100)},Ann\n{us(101)},{value}\n{us(102)},Bob\n"
    can = Capabilities(messages_per_request=10, **capabilities)
    [batch], [row], totals = planned(csv, "Hi {name}", capabilities=can)
    assert row == ExcludedRow(row=2, kind=Exclusion.INVALID, number=str(us(101)), reason=reason)
    assert batch.rows == [1, 3]
    assert batch.fields is not None
    assert unpack_fields(batch.fields) == {"name": ["Ann", "Bob"]}
    assert totals == PlanTotals(rows=3, messages=2, invalid=1, batches=1, segments=2)


def test_an_empty_text_is_not_sent() -> None:
    _, [row], _ = planned(f"phone,name\n{us(100)},Ann\n{us(101)},\n", "{name|}")
    assert row.reason == "invalid: empty text"


# --- Cutting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(1, 1, [1]), (5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 10, [3]), (3, 1, [1, 1, 1])],
)
def test_batches_are_cut_by_count(count: int, most: int, sizes: list[int]) -> None:
    for text in ("Sale", "Hi {name}"):
        batches, _, totals = planned(numbers(count), text, capabilities=Capabilities(messages_per_request=most))
        assert [len(batch.rows) for batch in batches] == sizes
        assert totals.batches == len(sizes)


def test_no_batch_is_larger_than_its_range_of_message_ids() -> None:
    # Numbers of one real-looking list would not do here: the fictional ones are 100 an area code.
    chunk = Chunk(
        rows=list(range(1, MESSAGES_PER_BATCH + 2)),
        lines=list(range(2, MESSAGES_PER_BATCH + 3)),
        columns={"phone": [f"+2782{at:07}" for at in range(MESSAGES_PER_BATCH + 1)]},
    )
    plan = Plan(
        header=["phone"],
        template=compile_template("Sale"),
        phone_column="phone",
        country=None,
        provider="winsms",
        capabilities=Capabilities(messages_per_request=1_000_000),
        suppressed=nobody,
        due_at=DUE,
    )
    sizes = [len(step.rows) for step in plan.steps([chunk]) if isinstance(step, PlannedBatch)]
    assert sizes == [MESSAGES_PER_BATCH, 1]


def test_the_one_text_counts_once_in_the_bytes() -> None:
    can = Capabilities(messages_per_request=100, bytes_per_request=100, bytes_per_message=20)
    batches, _, _ = planned(numbers(7), "x" * 38, capabilities=can)  # 40 with its quotes: room for 3
    assert [len(batch.rows) for batch in batches] == [3, 3, 1]


def test_every_personal_text_counts_in_the_bytes() -> None:
    can = Capabilities(messages_per_request=100, bytes_per_request=100, bytes_per_message=20)
    batches, _, _ = planned(numbers(5), "{name} 🎉", capabilities=can)  # 20 + 2 + 6 + 1 + 4 = 33
    assert [len(batch.rows) for batch in batches] == [3, 2]


def test_a_provider_of_one_text_a_request_gets_runs_of_equal_texts() -> None:
    csv = "phone,town\n" + "".join(f"{us(100 + at)},{town}\n" for at, town in enumerate("aabbbba"))
    can = Capabilities(messages_per_request=3, personalised=False)
    batches, _, _ = planned(csv, "In {town}", capabilities=can)
    assert [batch.rows for batch in batches] == [[1, 2], [3, 4, 5], [6], [7]]


def test_messages_of_different_groups_are_never_in_one_batch() -> None:
    cutter = Cutter(compile_template("Hi {name}"), Capabilities(messages_per_request=2), due_at=DUE, send_at=None)
    groups = [("A", None), ("B", None), ("A", None), ("A", "x"), ("A", None), ("B", None)]
    found: list[PlannedBatch] = []
    for first in (1, 7):
        rows = list(range(first, first + 6))
        cutter.add(
            numbers=[us(100 + row) for row in rows],
            rows=rows,
            segments=[1] * 6,
            values={"name": [f"n{row}" for row in rows]},
            texts=[f"Hi n{row}" for row in rows],
            groups=groups,
        )
        found += cutter.cut()
    assert [(batch.zone, batch.variant, batch.rows) for batch in found] == [
        ("A", None, [1, 3]),
        ("B", None, [2, 6]),
        ("A", None, [5, 7]),
        ("A", None, [9, 11]),
        ("B", None, [8, 12]),
        ("A", "x", [4, 10]),
    ]
    assert all(unpack_fields(batch.fields or b"") == {"name": [f"n{row}" for row in batch.rows]} for batch in found)
    assert list(cutter.cut(last=True)) == []


def test_what_is_left_of_every_group_comes_last() -> None:
    cutter = Cutter(compile_template("Hi"), WIDE, due_at=DUE, send_at=None)
    cutter.add(
        numbers=[1, 2], rows=[1, 2], segments=[1, 2], values={}, texts=["Hi"] * 2, groups=[("A", "x"), ("B", "x")]
    )
    assert list(cutter.cut()) == []
    assert [(batch.zone, batch.segments) for batch in cutter.cut(last=True)] == [("A", [1]), ("B", [2])]


@given(st.lists(st.text(max_size=5), max_size=5))
def test_sizes_taken_together_are_those_taken_alone(texts: list[str]) -> None:
    assert encoded_sizes(texts) == [len(msgspec.json.encode(text)) for text in texts]


values = st.text(alphabet='ab é€🎉"\\\n', max_size=12)
inputs = st.sampled_from(["", "n/a", "555-0142", *(f"{us(100 + at)}" for at in range(12)), "(202) 555-0105"])


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(inputs, values), min_size=1, max_size=40),
    gone=st.sets(st.integers(us(100), us(111)), max_size=4),
    text=st.sampled_from(["Sale", "{name}", "{name|x}", "Hi {name|there} {name|}"]),
    most=st.integers(1, 7),
    room=st.sampled_from([None, 60, 90, 200]),
    many=st.booleans(),
    rows_per_chunk=st.integers(1, 9),
)
def test_the_rows_always_add_up_and_batches_keep_within_limits(
    *,
    rows: list[tuple[str, str]],
    gone: set[int],
    text: str,
    most: int,
    room: int | None,
    many: bool,
    rows_per_chunk: int,
) -> None:
    can = Capabilities(
        messages_per_request=most, bytes_per_request=room, bytes_per_message=15, personalised=many, segments=1
    )
    template = compile_template(text)
    plan = Plan(
        header=["phone", "name"],
        template=template,
        phone_column="phone",
        country="US",
        provider="winsms",
        capabilities=can,
        suppressed=lambda numbers: dict.fromkeys(gone & set(numbers), OPTED_OUT),
        due_at=DUE,
    )
    chunks = [
        Chunk(
            rows=list(range(at + 1, at + 1 + len(part))),
            lines=list(range(at + 2, at + 2 + len(part))),
            columns={"phone": [phone for phone, _ in part], "name": [name for _, name in part]},
        )
        for at in range(0, len(rows), rows_per_chunk)
        if (part := rows[at : at + rows_per_chunk])
    ]
    try:
        steps = list(plan.steps(chunks))
    except InputError:
        assert template.required
        return
    batches = [step for step in steps if isinstance(step, PlannedBatch)]
    excluded = [row for step in steps if isinstance(step, list) for row in step]
    totals = plan.totals

    accounted = [row for batch in batches for row in batch.rows] + [row.row for row in excluded]
    assert sorted(accounted) == list(range(1, len(rows) + 1))
    assert totals.rows == len(rows)
    assert totals.rows == totals.messages + totals.duplicates + totals.invalid + totals.suppressed
    sent = [number for batch in batches for number in batch.numbers]
    assert len(sent) == len(set(sent)) == totals.messages
    assert not gone & set(sent)
    assert sent == normalise_column([rows[row - 1][0] for batch in batches for row in batch.rows], "US")
    assert totals.batches == len(batches)
    assert totals.segments == sum(sum(batch.segments) for batch in batches)
    for batch in batches:
        assert 0 < len(batch.numbers) == len(batch.rows) == len(batch.segments) <= most
        columns = unpack_fields(batch.fields) if batch.fields is not None else {}
        assert set(columns) == set(template.fields)
        texts = template.render(columns, len(batch.rows))
        assert count_segments(texts) == list(batch.segments)
        if not many:
            assert len(set(texts)) == 1
        counted = set(texts) if not (many and template.personalised) else texts
        size = 15 * len(texts) + sum(len(msgspec.json.encode(one)) for one in counted)
        assert room is None or size <= room


# --- Columns by name, and the sample ------------------------------------------------------------------------


def test_names_are_found_exactly_and_folded() -> None:
    header = ["Phone Number", "First Name", "first_name"]
    assert find_phone_column("phone_number", header) == "Phone Number"
    assert find_fields(compile_template("{first_name} {First Name}"), header) == {
        "first_name": "first_name",
        "First Name": "First Name",
    }


def test_the_sample_is_the_same_every_time_and_says_what_is_in_it(tmp_path: Path) -> None:
    sample = write_sample(tmp_path / "a.csv")
    write_sample(tmp_path / "b.csv")
    content = (tmp_path / "a.csv").read_bytes()
    assert content == (tmp_path / "b.csv").read_bytes()
    batches, excluded, totals = planned(content, "Hi {first_name}, {amount} {town} {code}", country=COUNTRY)
    assert (totals.rows, totals.duplicates, totals.invalid) == (sample.rows, sample.duplicates, sample.invalid)
    assert totals.messages == sample.rows - sample.duplicates - sample.invalid
    assert len(excluded) == sample.duplicates + sample.invalid
    assert all(100 <= number % 10_000 < 200 for batch in batches for number in batch.numbers)
    assert all(number // 10_000 % 1000 == 555 for batch in batches for number in batch.numbers)
    assert content.startswith(",".join(HEADER).encode())
    for needed in ('"Washington, DC"', "O'Neil", 'Robert ""Bob""', "🌻", "é", "tel:", "\u00a0"):
        assert needed in content.decode()


@pytest.mark.parametrize("rows", [0, -1, 40_001])
def test_a_sample_has_its_limits(tmp_path: Path, rows: int) -> None:
    with pytest.raises(ValueError, match="1 to 40,000"):
        write_sample(tmp_path / "a.csv", rows=rows)
