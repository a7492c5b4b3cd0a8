use super::*;

fn field(name: &str, value: &str) -> String {
    format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

#[test]
fn the_fields_of_a_form_are_known_once_its_file_begins() {
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\nContent-Type: a/b\r\n\r\n";
    let signed = field("X-Amz-Signature", "s") + &field("x-amz-security-token", "t");
    let old = field("empty", "") + &field("signature", "s");
    let quoted = field("key", "\r\n\r\nname=\"signature\"\r\n\r\n--y\r\n");
    for (fields, is_signed, session_token) in [
        ("", false, None),
        (signed.as_str(), true, Some("t")),
        (old.as_str(), true, None),
        (quoted.as_str(), false, None),
    ] {
        let expected = Fields {
            is_signed,
            session_token: session_token.map(str::to_owned),
        };
        let head = format!("{fields}{file}");
        for head in [head.clone(), format!("\r\n{head}content")] {
            assert_eq!(fields_before_file(&head), Some(expected.clone()), "{head}");
        }
        for end in 0..head.len() {
            assert_eq!(fields_before_file(&head[..end]), None, "{head}");
        }
        // What follows the file is no field.
        let more = format!("{head}content\r\n{}", field("signature", "s"));
        assert_eq!(fields_before_file(&more), Some(expected), "{more}");
    }
}

#[test]
fn a_malformed_form_has_no_fields() {
    for head in ["", "--x", "--x\r\n\r\n\r\n", "<Delete/>", "\r\n\r\n\r\n"] {
        assert_eq!(fields_before_file(head), None, "{head}");
    }
}
