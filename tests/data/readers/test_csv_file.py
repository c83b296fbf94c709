"""CSV: against Python's own csv and float, and NumPy's loadtxt; what is refused, by line and column; every message."""

import csv
import io
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux.op import DTypeError, FileFormatError, RangeError
from tests.data.readers.files import table

IRIS = "length,width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,-.5e1,virginica\n"


@pytest.fixture
def read(tmp_path):
    """Read a text, or bytes, as a file x.csv."""

    def call(content, **options):
        path = tmp_path / "x.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return nf.data.csv(path, **options)

    return call


@pytest.fixture
def refused(read):
    def call(content, **options):
        with pytest.raises(FileFormatError) as info:
            read(content, **options)
        text = str(info.value)
        assert text.startswith("x.csv: ") and text.isprintable() and len(text) <= 300
        return text.removeprefix("x.csv: ")

    return call


def test_columns_by_name_and_position(read):
    found = read(IRIS, columns=["width", "length"])
    assert found.names == ("width", "length") and found.values.dtype == np.float32
    assert found.values.tolist() == np.array([[3.5, 5.1], [3.2, 7.0], [-5.0, 6.3]], np.float32).tolist()
    assert found["length"].tolist() == found.values[:, 1].tolist()
    assert repr(found) == "Table(3 x 2 float32: width, length)"
    assert read(IRIS, columns=[0, -2], dtype=np.float64).names == ("length", "width")
    texts = read(IRIS, columns=["species"], dtype=str)
    assert texts["species"].tolist() == ["setosa", "versicolor", "virginica"] and texts.values.dtype == "<U10"


def test_the_values_of_a_table_are_data(read):
    found = read(IRIS, columns=["length", "width"])
    x, labels = found.values, read(IRIS, columns=["species"], dtype=str)["species"]
    batches = list(nf.DataLoader((x, labels), batchsize=2))
    assert [one[0].shape for one in batches] == [(2, 2), (1, 2)] and batches[1][1].tolist() == ["virginica"]
    with pytest.raises(DTypeError, match="DataLoader: data must be an array, a tuple or dict of arrays"):
        nf.DataLoader(found)  # whose items are columns


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_dialects(read, delimiter, end, quoting, mark):
    values = np.random.default_rng(0).standard_normal((5, 3))
    rows = [["a", "b c", 'd"e'], *values.tolist()]
    content = mark + table(rows, delimiter=delimiter, lineterminator=end, quoting=quoting)
    found = read(content, delimiter=delimiter, dtype=np.float64)
    assert found.names == ("a", "b c", 'd"e') and np.array_equal(found.values, values)


@given(
    st.lists(st.lists(st.floats(width=64), min_size=2, max_size=2), min_size=1, max_size=5),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_floats_come_back(tmp_path_factory, rows, dtype):
    path = tmp_path_factory.getbasetemp() / "floats.csv"
    path.write_bytes(table(rows))
    found = nf.data.csv(path, header=False, dtype=dtype, finite=False).values
    with np.errstate(over="ignore"):
        assert found.dtype == dtype and np.array_equal(found, np.array(rows, dtype), equal_nan=True)


@given(st.data(), st.sampled_from([np.int8, np.uint8, np.int32, np.uint64, np.int64]))
def test_integers_come_back(tmp_path_factory, data, dtype):
    span, path = np.iinfo(dtype), tmp_path_factory.getbasetemp() / "integers.csv"
    rows = data.draw(st.lists(st.lists(st.integers(int(span.min), int(span.max)), min_size=3, max_size=3), min_size=1))
    path.write_bytes(table(rows))
    found = nf.data.csv(path, header=False, dtype=dtype).values
    assert found.dtype == dtype and found.tolist() == rows


fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


@given(st.lists(st.lists(fields, min_size=2, max_size=2), min_size=1, max_size=5))
def test_texts_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "texts.csv"
    path.write_bytes(table(rows, quoting=csv.QUOTE_ALL))
    assert nf.data.csv(path, header=False, dtype=str).values.tolist() == rows


def test_many_rows_are_those_of_loadtxt(read):
    values = np.random.default_rng(1).standard_normal((3000, 50))  # several blocks
    out = io.StringIO()
    np.savetxt(out, values, delimiter=",")
    found = read(out.getvalue(), header=False, dtype=np.float64).values
    assert np.array_equal(found, np.loadtxt(io.StringIO(out.getvalue()), delimiter=","))


def test_as_many_rows_as_a_block(read):
    assert read("a\n" + "7\n" * 2**16, dtype=np.uint8)["a"].tolist() == [7] * 2**16


def test_some_rows(read):
    assert read(IRIS, columns=[0], max_rows=2).values.shape == (2, 1)
    assert read(IRIS, columns=[0], max_rows=9).values.shape == (3, 1)
    assert read("1,2\n3\n", header=False, max_rows=1).values.tolist() == [[1, 2]]  # the rest is not looked at


def test_what_ends_a_file(read, refused):
    for end in ("", "\n", "\r\n", "\n\n\n", "\n\r\n"):
        assert read(f"a,b\n1,2{end}").values.tolist() == [[1, 2]]
    assert refused("a,b\n\n1,2\n") == "line 2 must be a row, got 'an empty line'"
    assert refused("a,b\n1,2\n\n\n3,4\n") == "line 3 must be a row, got 'an empty line'"


def test_headers(read, refused):
    expected = "line 1 must be the names of the columns, each there once (or header=False), got"
    assert refused("5.1,3.5\n7.0,3.2\n") == f"{expected} '5.1, 3.5'"
    assert refused("5,0,0\n3,0,0\n") == f"{expected} '5, 0, 0'"
    assert read("0,1\n5,6\n", dtype=int).names == ("0", "1")  # as pandas names them
    assert read(" a , b\n5,6\n").names == ("a", "b")
    assert read("5.1,3.5\n", header=False).names is None
    assert "printable, of at most 256 characters, got '\\x1b[2Jx'" in refused("\33[2Jx,b\n1,2\n")
    assert "a name must be printable" in refused("a" * 257 + ",b\n1,2\n")


@pytest.mark.parametrize(
    "field",
    ["1_000", "\u0661\u0662", "\uff11", "0x10", "1,5", "", " ", "nan", "inf", "-Infinity", "1e", "1e5.0", "--1", "+-1",
     "1.2.3", ".", "1 2", "\u00a01", "1d5", "1j", "True", "NA", "1" * 401, "\n1", "1\n", "1\n2", "e5"],
)  # fmt: skip
def test_what_is_no_number(refused, field):
    quoted = '"' + field + '"'
    number = "a number (or finite=False)"
    more = field.count("\n")
    assert refused(f"a,b\n1,2\n3,{quoted}\n").startswith(f"line {3 + more}, column 'b' must be {number}")
    assert refused(f"1,2\n3,{quoted}\n", header=False).startswith(f"line {2 + more}, column 1 must be {number}")


@pytest.mark.parametrize("field", ["1.0", "1e3", "1_0", "0x1", "", "nan", "\u0663", "1" * 41])
def test_what_is_no_integer(refused, field):
    assert refused(f"a\n{field}\n\n2" if not field else f"a\n{field}\n", dtype=np.int64).startswith("line 2")


def test_numbers_beyond_their_type(read, refused):
    assert refused("a,b\n1,2\n3,1e39\n") == "line 3, column 'b' must be a finite float32 (or finite=False), got 1e+39"
    assert refused("a\n1e999\n") == "line 2, column 'a' must be a finite float32 (or finite=False), got inf"
    assert refused("a\n-70000\n", dtype=np.float16).startswith("line 2, column 'a' must be a finite float16")
    assert refused("a\n1\n256\n", dtype=np.uint8) == "line 3, column 'a' must be in 0..255, got 256"
    assert refused("a\n-1\n", dtype=np.uint64).endswith("must be in 0..18446744073709551615, got -1")
    free = read("a,b\n1e39,nan\n,-inf\n NaN , Infinity\n", finite=False).values
    assert np.array_equal(free, [[np.inf, np.nan], [np.nan, -np.inf], [np.nan, np.inf]], equal_nan=True)
    assert refused("a\n1_0\n", finite=False) == "line 2, column 'a' must be a number, got '1_0'"


def test_ragged_rows_and_bad_quotes(refused):
    assert refused("a,b\n1,2\n3\n") == "line 3 must be of 2 columns, got 1"
    assert refused("a,b\n1,2\n3,4,5\n") == "line 3 must be of 2 columns, got 3"
    damage = "must be CSV in UTF-8 at line 3, got 'damage, or another form'"
    assert refused('a,b\n1,2\n"3"x,4\n') == f"it {damage}"
    assert refused('a,b\n1,2\n"3,4\n') == f"it {damage}"
    assert refused(b"a,b\n1,2\n3,\xff\n") == f"it {damage}"
    assert refused("a,b\n1,2\n3\r4,5\n") == f"it {damage}"
    assert refused('a,b\n1,2\n"' + "x" * 140_000 + '",3\n') == f"it {damage}"  # Python's limit of a field
    assert refused(b"a,b\n1,\0\n") == "line 2 must be text, got 'a zero byte'"
    assert refused("a,b\n1,2\n".encode("utf-16")) == "line 1 must be text, got 'a zero byte'"


def test_bounds(read, refused):
    text = "a,b\n" + "1,2\n" * 100
    assert refused(text, max_bytes=403) == "its size must be at most 403 bytes (max_bytes=), got 404"
    assert refused(text, max_bytes=500).endswith("within an array of 500 bytes (max_bytes=), got 504")
    assert len(read(text, max_bytes=800).values) == 100
    assert refused(text, max_columns=1) == "line 1 must be of at most 1 columns (max_columns=), got 2"
    assert refused("a,b\n1,22\n", max_line=4) == "line 2 must be of a row of at most 4 bytes (max_line=), got 'more'"
    rows = 'a,b\n1,"2\n2\n2\n2"\n'  # one row, on several short lines
    assert refused(rows, max_line=8, dtype=str) == "line 4 must be of a row of at most 8 bytes (max_line=), got 'more'"
    assert refused("") == "its first line must be a row, got 'nothing'"
    assert refused("\n1\n") == "its first line must be a row, got 'nothing'"
    assert refused("a,b\n") == "it must be one row of values or more, got 'none'"


def test_one_long_text_does_not_make_the_others_long(refused, read):
    rows = "t\n" + "x\n" * 5000 + "y" * 100_000 + "\n"  # 2 GB as an array
    assert "within an array of" in refused(rows, dtype=str)
    assert read("t\n" + "x\n" * 50 + "y" * 10_000 + "\n", dtype=str).values.dtype == "<U10000"


def test_nothing_is_slow():
    """Each pattern takes a time that grows as the text does."""
    from numbaflux.data.readers.csv_file import _REAL, _WHOLE, _WORDS

    start = time.process_time()
    for pattern in (_REAL, _WHOLE, _WORDS):
        for text in (" " * 100_000 + "x", "1" * 100_000 + "x", "\t" * 100_000, "1." * 50_000, "nan" * 30_000):
            assert not pattern.fullmatch(text) or pattern is _WORDS
    assert time.process_time() - start < 1


def test_columns_that_are_not_there(refused, read):
    assert refused(IRIS, columns=["height"]) == ("csv: a column must be one of length, width, species, got 'height'")
    assert refused("1,2\n", header=False, columns=["a"]) == (
        "csv: a column must be a position, as the columns have no names, got 'a'"
    )
    assert refused(IRIS, columns=[3]) == "csv: a column must be in -3..2, got 3"
    with pytest.raises(RangeError, match="^Table: a column must be one of length, got 'x'$"):
        read(IRIS, columns=["length"])["x"]
    with pytest.raises(DTypeError, match="^Table: a column must be a name, got 1$"):
        read(IRIS, columns=["length"])[1]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"dtype": object}, DTypeError, "csv: dtype must be of floats, of integers, or str, got <class 'object'>"),
        ({"dtype": "rubbish"}, DTypeError, "csv: dtype must be of floats, of integers, or str, got 'rubbish'"),
        ({"dtype": complex}, DTypeError, "csv: dtype must be of floats, of integers, or str, got <class 'complex'>"),
        ({"dtype": "U3"}, DTypeError, "csv: dtype must be of floats, of integers, or str, got 'U3'"),
        ({"delimiter": ".."}, RangeError, "csv: delimiter must be ',', ';', '|' or tab, got '..'"),
        ({"delimiter": "1"}, RangeError, "csv: delimiter must be ',', ';', '|' or tab, got '1'"),
        ({"delimiter": None}, RangeError, "csv: delimiter must be ',', ';', '|' or tab, got None"),
        ({"columns": []}, DTypeError, "csv: columns must be a list of names or positions, got []"),
        ({"columns": "length"}, DTypeError, "csv: columns must be a list of names or positions, got 'length'"),
        ({"columns": [1.5]}, DTypeError, "csv: a column must be a name or an integer, got 1.5"),
        ({"columns": [True]}, DTypeError, "csv: a column must be a name or an integer, got True"),
        ({"max_rows": 0}, RangeError, "csv: max_rows must be an integer in [1, 2**62), got 0"),
    ],
)
def test_arguments(read, options, error, text):
    with pytest.raises(error) as info:
        read(IRIS, **options)
    assert str(info.value) == text
