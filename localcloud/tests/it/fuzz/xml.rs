//! The XML of replies. The targets of `fuzz/` use it, too.

use quick_xml::events::Event;

/// Returns whether a document has elements, all of them closed, and nothing that quick-xml refuses.
pub fn is_well_formed(xml: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut open, mut has_elements) = (0, false);
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => open += 1,
            // The reader refuses an end without its start.
            Ok(Event::End(_)) => {
                open -= 1;
                has_elements = true;
            }
            Ok(Event::Empty(_)) => has_elements = true,
            Ok(Event::Eof) => return has_elements && open == 0,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[test]
fn every_element_must_be_closed() {
    assert!(is_well_formed("<a><b/>text</a>"));
    for broken in ["", "text", "<a>", "<a><b></a>", "<a></b>", "</a>"] {
        assert!(!is_well_formed(broken), "{broken}");
    }
}
