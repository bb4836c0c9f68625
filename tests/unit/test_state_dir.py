"""The agent's directory: what tools leave in it goes, whatever they did to stay."""

from rediver_agent.state_dir import remove_tree


def test_what_a_tool_has_locked_or_nested_without_end_is_removed(tmp_path):
    tree = tmp_path / "work"
    (tree / "mod" / "lib").mkdir(parents=True)
    (tree / "mod" / "lib" / "file").write_text("x")
    (tree / "mod" / "lib").chmod(0o000)
    (tree / "mod").chmod(0o555)
    deepest = tree
    for _ in range(1500):
        (deepest := deepest / "d").mkdir()

    remove_tree(tree)

    assert list(tmp_path.iterdir()) == []


def test_what_links_lead_to_stays(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o755)
    (kept / "file").write_text("x")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "link").symlink_to(kept)
    (tmp_path / "link").symlink_to(kept)

    remove_tree(tmp_path / "work")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nowhere")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "link"]
    assert (kept / "file").read_text() == "x"
    assert kept.stat().st_mode & 0o777 == 0o755
