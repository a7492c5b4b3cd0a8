use std::path::Path;

/// Set to 1, it makes [`assert_generated`] write what the page lacks.
const UPDATE: &str = "MUSTER_UPDATE_DOCS";

/// Checks that a page, named from the root of the workspace, has `text` between the lines `<!-- PART: begin -->` and
/// `<!-- PART: end -->`.
#[track_caller]
pub fn assert_generated(page: &str, part: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let whole = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {part}: begin -->\n"),
        format!("<!-- {part}: end -->\n"),
    );
    let parts = whole.split_once(&begin).and_then(|(head, rest)| {
        let (old, tail) = rest.split_once(&end)?;
        Some((head, old, tail))
    });
    let (head, old, tail) = parts.unwrap_or_else(|| panic!("{page} lacks {begin}or {end}"));
    if old == text {
        return;
    }
    assert!(
        std::env::var_os(UPDATE).is_some_and(|value| value == "1"),
        "{page} is out of date in its part {part:?}. To write it anew: {UPDATE}=1 make test, or this test alone. It has to be:\n{text}"
    );
    std::fs::write(&path, format!("{head}{begin}{text}{end}{tail}")).unwrap();
}
