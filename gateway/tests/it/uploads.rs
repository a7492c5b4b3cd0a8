use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::photos::CONTENT_TYPE;
use crate::stack::Stack;

const HEAD: &str =
    "--frontier\r\nContent-Disposition: form-data; name=\"inputFile\"; filename=\"a.jpg\"\r\n\r\n";

/// Sends everything before reading, as Python's client does.
async fn send_then_read(stack: &Stack, pieces: impl Iterator<Item = Vec<u8>>) -> String {
    let address = stack.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        connection
            .write_all(&piece)
            .await
            .expect("the gateway reads on");
    }
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains("\r\n\r\n") {
        let read = connection
            .read(&mut buffer)
            .await
            .expect("no reset before the answer");
        assert_ne!(read, 0, "no answer");
        answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    answer
}

#[tokio::test]
async fn an_upload_of_twenty_megabytes_gets_its_response() {
    let stack = Stack::start().await;
    let answer = stack.post("a.jpg", &vec![0; 20_000_000]).await;
    answer.assert_refused(413, "larger than 10485760 bytes");

    let megabyte = vec![7; 1_000_000];
    let length = 20 * megabyte.len() + HEAD.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\r\n{HEAD}"
    );
    let pieces =
        std::iter::once(head.into_bytes()).chain(std::iter::repeat_n(megabyte.clone(), 20));
    let answer = send_then_read(&stack, pieces).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn an_upload_of_unknown_length_is_bounded_while_it_streams() {
    let stack = Stack::start().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {CONTENT_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{HEAD}\r\n",
        HEAD.len()
    );
    let mut chunk = b"f4240\r\n".to_vec();
    chunk.extend(std::iter::repeat_n(7, 1_000_000));
    chunk.extend_from_slice(b"\r\n");
    let pieces = std::iter::once(head.into_bytes())
        .chain(std::iter::repeat_n(chunk, 20))
        .chain([b"0\r\n\r\n".to_vec()]);
    let answer = send_then_read(&stack, pieces).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_refused_early() {
    let stack = Stack::start().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: 20000000\r\nExpect: 100-continue\r\n\r\n"
    );
    let answer = send_then_read(&stack, std::iter::once(head.into_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_upload_that_stalls_times_out() {
    let stack =
        Stack::configured(|_, http| http.upload_timeout = std::time::Duration::from_millis(200))
            .await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: 5000\r\n\r\n{HEAD}"
    );
    let answer = send_then_read(&stack, std::iter::once(head.into_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}
