use proto::v1::FailureCode;

use crate::photos::{
    CONTENT_TYPE, Part, decompression_bomb, gray_photo, multipart, photo, truncated_photo,
};
use crate::stack::Stack;
use crate::worker::{Worker, recognize};

fn input_file<'a>(file_name: &'a str, content: &'a [u8]) -> Part<'a> {
    Part {
        field: "inputFile",
        file_name: Some(file_name),
        content,
    }
}

#[tokio::test]
async fn malformed_uploads_are_refused_and_leave_nothing() {
    let stack = Stack::start().await;
    let photo = photo(1);

    let empty = stack.post_raw("application/octet-stream", Vec::new()).await;
    empty.assert_refused(400, "not multipart/form-data");
    let empty = stack.post_raw(CONTENT_TYPE, Vec::new()).await;
    empty.assert_refused(400, "multipart body is damaged");
    let bare = stack.post_raw("image/jpeg", photo.clone()).await;
    bare.assert_refused(400, "not multipart/form-data");
    let cut = stack.post_raw(
        CONTENT_TYPE,
        multipart(&[input_file("a.jpg", &photo)])[..90].to_vec(),
    );
    cut.await.assert_refused(400, "multipart body is damaged");

    let other = Part {
        field: "file",
        file_name: Some("a.jpg"),
        content: &photo,
    };
    let other = stack.post_raw(CONTENT_TYPE, multipart(&[other])).await;
    other.assert_refused(400, "no part inputFile");
    let unnamed = Part {
        field: "inputFile",
        file_name: None,
        content: &photo,
    };
    let unnamed = stack.post_raw(CONTENT_TYPE, multipart(&[unnamed])).await;
    unnamed.assert_refused(400, "no file name");
    let two = multipart(&[input_file("a.jpg", &photo), input_file("b.jpg", &photo)]);
    stack
        .post_raw(CONTENT_TYPE, two)
        .await
        .assert_refused(400, "more than one part inputFile");

    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn files_that_are_not_photos_are_refused_before_they_are_stored() {
    let stack = Stack::start().await;
    stack.post("a.jpg", b"").await.assert_refused(400, "empty");
    let answer = stack.post("a.jpg", b"hello, I am text\n").await;
    answer.assert_refused(415, "not a JPEG, PNG or WebP");
    let answer = stack.post("a.jpg", &photo(1)[..12]).await;
    answer.assert_refused(422, "truncated");
    let answer = stack.post("a.png", &decompression_bomb()).await;
    answer.assert_refused(413, "pixels");
    stack.assert_left_behind(&[]).await;
}

/// Workers have a test of the same name.
#[tokio::test]
async fn both_halves_obey_a_raised_pixel_limit() {
    // 42 megapixels; the default limit is 40.
    let photo = gray_photo(6_500);
    let stack = Stack::start().await;
    let answer = stack.post("large.png", &photo).await;
    answer.assert_refused(413, "pixels");
    let raised = Stack::configured(|front, _| front.decode.max_pixels = 50_000_000).await;
    let _worker = Worker::recognizing(&raised).await;
    let answer = raised.post("large.png", &photo).await;
    answer.assert_recognized("large:somebody");
}

#[tokio::test]
async fn a_photo_that_a_worker_finds_bad_is_deleted() {
    let stack = Stack::start().await;
    {
        let _worker =
            Worker::failing(&stack, FailureCode::DamagedImage, "the image is damaged").await;
        let answer = stack.post("a.jpg", &truncated_photo()).await;
        answer.assert_refused(422, "the image is damaged");
    }
    stack.assert_left_behind(&[]).await;
    let _worker = Worker::failing(&stack, FailureCode::NoFace, "no face found").await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_refused(422, "no face found");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn many_bad_uploads_of_one_name_at_once_leave_nothing() {
    let stack = Stack::start().await;
    let _worker = Worker::failing(&stack, FailureCode::NoFace, "no face found").await;
    let uploads = (0..24u8).map(|number| {
        let (stack, photo) = (&stack, photo(number % 3));
        async move { stack.post("same.jpg", &photo).await }
    });
    for answer in futures::future::join_all(uploads).await {
        answer.assert_refused(422, "no face found");
    }
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn a_bad_photo_that_existed_before_stays() {
    let stack = Stack::start().await;
    {
        let _worker = Worker::recognizing(&stack).await;
        recognize(&stack, "a.jpg", 1).await;
    }
    let _worker = Worker::failing(&stack, FailureCode::NoFace, "no face found").await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_refused(422, "no face found");
    stack.assert_left_behind(&["a.jpg"]).await;
}

#[tokio::test]
async fn an_internal_error_keeps_the_photo() {
    let stack = Stack::start().await;
    let _worker = Worker::failing(&stack, FailureCode::Internal, "the model broke\nbadly").await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_refused(500, "the model broke badly");
    stack.assert_left_behind(&["a.jpg"]).await;
}
