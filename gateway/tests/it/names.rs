use crate::photos::{CONTENT_TYPE, Part, multipart, photo};
use crate::stack::{Answer, Stack};
use crate::worker::{Worker, recognize};

async fn post_named(stack: &Stack, name_on_the_wire: &str) -> Answer {
    let content = photo(1);
    let part = Part {
        field: "inputFile",
        file_name: Some(name_on_the_wire),
        content: &content,
    };
    stack.post_raw(CONTENT_TYPE, multipart(&[part])).await
}

#[tokio::test]
async fn names_with_paths_line_breaks_or_too_many_bytes_are_refused() {
    let stack = Stack::start().await;
    for (name, reason) in [
        ("../../etc/passwd.jpg", "'/'"),
        ("..\\x.jpg", "'\\\\'"),
        ("a%0Ab.jpg", "control character"),
        ("a%0D%0AX-Evil: 1.jpg", "control character"),
        ("a\nb.jpg", ""),
        ("a%22b.jpg", "'\"'"),
        ("", "empty"),
        (".jpg", "nothing before its extension"),
    ] {
        post_named(&stack, name).await.assert_refused(400, reason);
    }
    let long = format!("{}.jpg", "x".repeat(1000));
    post_named(&stack, &long)
        .await
        .assert_refused(400, "the limit is 255");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn a_name_as_long_as_file_systems_take_is_accepted() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    let stem = "x".repeat(251);
    post_named(&stack, &format!("{stem}.jpg"))
        .await
        .assert_recognized(&format!("{stem}:somebody"));
}

#[tokio::test]
async fn names_with_any_letters_are_accepted() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    let names = [
        "Zoë Müller 王.v2.jpg",
        "50%25 + a;b=c&d.jpg",
        "no_extension",
    ];
    let answers = [
        "Zoë Müller 王.v2:somebody",
        "50%25 + a;b=c&d:somebody",
        "no_extension:somebody",
    ];
    for (name, answer) in names.into_iter().zip(answers) {
        post_named(&stack, name).await.assert_recognized(answer);
    }
    let mut stored = stack.photos().await;
    stored.sort_unstable();
    assert_eq!(
        stored,
        [
            "50%25 + a;b=c&d.jpg",
            "Zoë Müller 王.v2.jpg",
            "no_extension"
        ]
    );
}

#[tokio::test]
async fn another_photo_of_the_same_name_gets_its_own_key() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    for seed in [1, 2, 1, 2, 1] {
        recognize(&stack, "a.jpg", seed).await;
    }
    let mut keys = stack.photos().await;
    keys.sort_unstable();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], "a.jpg");
    assert!(
        keys[1].starts_with("a~") && keys[1].len() == "a~0123456789abcdef.jpg".len(),
        "{keys:?}"
    );
    assert_eq!(stack.in_bucket().get("a.jpg").await.unwrap(), photo(1));
    assert_eq!(stack.in_bucket().get(&keys[1]).await.unwrap(), photo(2));
}

#[tokio::test]
async fn an_existing_object_is_not_overwritten() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    let other = bytes::Bytes::from_static(b"not ours");
    stack
        .in_bucket()
        .put("a.jpg", other.clone(), Default::default())
        .await
        .unwrap();
    recognize(&stack, "a.jpg", 1).await;
    assert_eq!(stack.in_bucket().get("a.jpg").await.unwrap(), other);
    assert_eq!(stack.photos().await.len(), 2);
}
