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

/// `s3s` searched all that it had after each of them.
#[tokio::test]
async fn the_beginning_of_a_form_in_single_bytes_becomes_one_chunk() {
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let fields = field("x-amz-signature", "s") + &field("x-amz-security-token", "t");
    let padding = field("padding", &"p".repeat(2 * USUAL_FIELDS_BYTES));
    let sent = format!("{fields}{padding}{file}{}", "content".repeat(20_000));
    let request =
        http::Request::post("/bucket").header("content-type", "multipart/form-data; boundary=x");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let mut form = Form::of(&parts).unwrap();
    let single = sent
        .bytes()
        .map(|byte| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![byte]))));
    let body = Body::http_body(StreamBody::new(stream::iter(single.collect::<Vec<_>>())));
    let mut body = form.read_fields(body).await;
    assert_eq!(form.session_token(), Some("t"));
    let head = body.next().await.unwrap().unwrap();
    assert!(head.len() > padding.len() && head.len() < sent.len());
    let mut received = head.to_vec();
    while let Some(chunk) = body.next().await {
        received.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(received, sent.as_bytes());
}
