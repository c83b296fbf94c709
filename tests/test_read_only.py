"""A folder on a read-only disk is that for the program alone."""

from tests.child import child
from tests.read_only import read_only


def test_a_folder_is_read_only_for_the_program_alone(tmp_path):
    folder, other = tmp_path / "a b", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (folder / "old").write_text("old")
    code = f"""
        import errno, os
        print(open({str(folder / "old")!r}).read())
        open({str(other / "new")!r}, "x").close()
        try:
            open({str(folder / "new")!r}, "x")
        except OSError as error:
            print(error.errno == errno.EROFS)
    """
    assert child(code, *read_only(folder)).split() == ["old", "True"]
    (folder / "new").write_text("new")
    assert sorted(path.name for path in folder.iterdir()) == ["new", "old"] and (other / "new").exists()
