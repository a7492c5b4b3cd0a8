use std::sync::Barrier;

use super::*;

/// Returns the result for a photo of the tests: an error with the photo's bytes.
fn result(photo: &Bytes) -> Result<Recognized, VisionError> {
    let text = String::from_utf8_lossy(photo).into_owned();
    Err(photo::DecodeError::Unsupported(text).into())
}

/// Recognizes photos by a function. A frame fails with its file's text.
struct FakeRecognizer<P>(P);

impl<P> RecognizePhotos for FakeRecognizer<P>
where
    P: Fn(&[Bytes]) -> Vec<Result<Recognized, VisionError>> + Send + Sync + 'static,
{
    fn photos(&self, photos: &[Bytes]) -> Vec<Result<Recognized, VisionError>> {
        self.0(photos)
    }

    fn frame(&self, file: &Bytes, _: u32, _: f64) -> Result<FoundFaces, VisionError> {
        Err(result(file).expect_err("it is always an error"))
    }
}

fn inference(
    threads: usize,
    recognize: impl Fn(&[Bytes]) -> Vec<Result<Recognized, VisionError>> + Send + Sync + 'static,
) -> Arc<Inference> {
    let threads = NonZeroUsize::new(threads).unwrap();
    Arc::new(
        Inference::over(
            threads,
            Duration::from_secs(60),
            Box::new(FakeRecognizer(recognize)),
        )
        .unwrap(),
    )
}

/// Recognizes a photo in a task of its own. Returns the error.
fn ask(inference: &Arc<Inference>, photo: &'static str) -> tokio::task::JoinHandle<String> {
    let inference = Arc::clone(inference);
    tokio::spawn(async move {
        let error = inference.recognize(Bytes::from_static(photo.as_bytes()), false);
        error.await.unwrap_err().to_string()
    })
}

async fn within_a_minute<T>(what: &str, future: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(60);
    let done = tokio::time::timeout(deadline, future).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {deadline:?}"))
}

async fn until_waiting(inference: &Inference, jobs: usize) {
    let queue = inference.jobs.as_ref().unwrap();
    while queue.max_capacity() - queue.capacity() != jobs {
        tokio::task::yield_now().await;
    }
}

#[test]
fn waiting_jobs_are_shared_fairly() {
    // A lone job is taken at once, alone, by the one thread that sees it.
    assert_eq!(fair_share(1, 1), 1);
    assert_eq!(fair_share(1, 4), 1);
    // Up to a job for each thread, none is taken from another thread.
    assert_eq!(fair_share(4, 4), 1);
    assert_eq!(fair_share(5, 4), 2);
    assert_eq!(fair_share(3, 1), 3);
    assert_eq!(fair_share(100, 1), LARGEST_BATCH);
    for waiting in 1..100 {
        for threads in 1..20 {
            let share = fair_share(waiting, threads);
            assert!((1..=waiting).contains(&share), "{waiting} {threads}");
            assert!((share - 1) * threads < waiting, "{waiting} {threads}");
        }
    }
}

/// Each of two photos is done only while the other one is worked on too.
#[tokio::test]
async fn a_burst_is_shared_over_the_threads() {
    let both = Barrier::new(2);
    let inference = inference(2, move |photos| {
        both.wait();
        photos.iter().map(result).collect()
    });
    let results = (ask(&inference, "first"), ask(&inference, "second"));
    within_a_minute("both threads work", async {
        assert!(results.0.await.unwrap().contains("first"));
        assert!(results.1.await.unwrap().contains("second"));
    })
    .await;
}

#[tokio::test]
async fn a_lone_job_waits_for_no_other() {
    let (release, held) = sync_mpsc::channel::<()>();
    let held = Mutex::new(held);
    let inference = inference(2, move |photos| {
        if photos[0] == "held" {
            held.lock().unwrap().recv().unwrap();
        }
        photos.iter().map(result).collect()
    });
    let first = ask(&inference, "held");
    let lone = ask(&inference, "lone");
    within_a_minute("the lone job is done", lone).await.unwrap();
    assert!(!first.is_finished());
    release.send(()).unwrap();
    within_a_minute("the first job is done", first)
        .await
        .unwrap();
}

#[tokio::test]
async fn queued_jobs_run_together_and_those_without_a_waiting_task_are_skipped() {
    let (started, starts) = sync_mpsc::channel();
    let (release, held) = sync_mpsc::channel::<()>();
    let held = Mutex::new(held);
    let inference = inference(1, move |photos| {
        started.send(photos.to_vec()).unwrap();
        held.lock().unwrap().recv().unwrap();
        photos.iter().map(result).collect()
    });
    let first = ask(&inference, "a");
    within_a_minute("the first job is taken", async {
        while starts.try_recv() != Ok(vec![Bytes::from("a")]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let second = ask(&inference, "b");
    within_a_minute("one waits", until_waiting(&inference, 1)).await;
    let dropped_job = ask(&inference, "dropped");
    within_a_minute("two wait", until_waiting(&inference, 2)).await;
    let third = ask(&inference, "c");
    within_a_minute("three wait", until_waiting(&inference, 3)).await;
    dropped_job.abort();
    assert!(dropped_job.await.unwrap_err().is_cancelled());
    release.send(()).unwrap();
    release.send(()).unwrap();
    within_a_minute("all are done", async {
        assert!(first.await.unwrap().contains('a'));
        assert!(second.await.unwrap().contains('b'));
        assert!(third.await.unwrap().contains('c'));
    })
    .await;
    assert_eq!(starts.recv().unwrap(), ["b", "c"]);
}

#[tokio::test]
async fn a_panic_costs_one_photo_and_no_thread() {
    let (started, starts) = sync_mpsc::channel();
    let (release, held) = sync_mpsc::channel::<()>();
    let held = Mutex::new(held);
    let inference = inference(1, move |photos| {
        started.send(photos.len()).unwrap();
        if photos[0] == "first" {
            held.lock().unwrap().recv().unwrap();
        }
        assert!(!photos.contains(&Bytes::from("bad")), "this photo panics");
        photos.iter().map(result).collect()
    });
    let first = ask(&inference, "first");
    within_a_minute("the first job is taken", async {
        while starts.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (good, bad) = (ask(&inference, "good"), ask(&inference, "bad"));
    within_a_minute("two wait", until_waiting(&inference, 2)).await;
    release.send(()).unwrap();
    within_a_minute("all are done", async {
        assert!(first.await.unwrap().contains("first"));
        assert!(good.await.unwrap().contains("good"));
        assert_eq!(bad.await.unwrap(), InferenceError::Panicked.to_string());
    })
    .await;
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [2, 1, 1]);
    let later = within_a_minute("a result", ask(&inference, "later")).await;
    assert!(later.unwrap().contains("later"), "the thread goes on");
}

#[tokio::test]
async fn a_photo_that_never_ends_is_given_up_and_its_thread_is_left() {
    let (release, held) = sync_mpsc::channel::<()>();
    let held = Mutex::new(held);
    let hanging = move |photos: &[Bytes]| {
        // Until the test ends.
        let _ = held.lock().unwrap().recv();
        photos.iter().map(result).collect()
    };
    let limit = Duration::from_millis(1);
    let inference =
        Inference::over(NonZeroUsize::MIN, limit, Box::new(FakeRecognizer(hanging))).unwrap();
    assert!(!inference.hangs());
    let given_up = inference.recognize(Bytes::from("endless"), false).await;
    let error = given_up.unwrap_err();
    assert!(matches!(error, InferenceError::TooSlow(_)), "{error}");
    assert!(inference.hangs());
    let behind = inference.recognize(Bytes::from("behind"), false).await;
    assert!(matches!(behind, Err(InferenceError::ThreadsEnded)));
    let dropped = tokio::task::spawn_blocking(move || drop(inference));
    within_a_minute("the threads are left", dropped)
        .await
        .unwrap();
    drop(release);
}

/// All photos of the batch were refused for good.
#[tokio::test]
async fn a_hang_fails_one_photo_of_its_batch() {
    let (first_try, second_try) = (ManualInference::new(), ManualInference::new());
    let innocent = first_try.ask("innocent", false).await;
    let endless = first_try.ask("endless", false).await;
    let end = first_try.run_next(2).await;
    for photo in [innocent, endless] {
        let result = within_a_minute("the batch is given back", photo).await;
        assert!(matches!(result.unwrap(), Err(InferenceError::BatchTooSlow)));
    }
    assert!(first_try.inference.hangs());
    drop(end);

    let other = second_try.ask("other", false).await;
    let innocent = second_try.ask("innocent", true).await;
    let endless = second_try.ask("endless", true).await;
    drop((second_try.run_next(1).await, second_try.run_next(1).await));
    for photo in [other, innocent] {
        let result = within_a_minute("a result", photo).await.unwrap();
        assert!(matches!(result, Err(InferenceError::Vision(_))));
    }
    let end = second_try.run_next(1).await;
    let result = within_a_minute("it is given up", endless).await.unwrap();
    assert!(matches!(result, Err(InferenceError::TooSlow(_))));
    drop(end);
}

/// Jobs that are only run by [`Self::run_next`].
struct ManualInference {
    inference: Arc<Inference>,
    waiting: Arc<Mutex<Waiting>>,
}

impl ManualInference {
    fn new() -> Self {
        let (jobs, queue) = mpsc::channel(LARGEST_BATCH);
        let waiting = Waiting {
            jobs: queue,
            held_back: None,
        };
        let inference = Inference {
            jobs: Some(jobs),
            threads: Vec::new(),
            alive: Mutex::new(sync_mpsc::channel().1),
            max_job_time: Duration::from_secs(1),
            hung: CancellationToken::new(),
        };
        Self {
            inference: Arc::new(inference),
            waiting: Arc::new(Mutex::new(waiting)),
        }
    }

    /// Queues a photo.
    async fn ask(
        &self,
        photo: &'static str,
        is_alone: bool,
    ) -> tokio::task::JoinHandle<Result<Recognized, InferenceError>> {
        let queue = self.inference.jobs.as_ref().unwrap();
        let before = queue.max_capacity() - queue.capacity();
        let inference = Arc::clone(&self.inference);
        let asking = tokio::spawn(async move {
            let photo = Bytes::from_static(photo.as_bytes());
            inference.recognize(photo, is_alone).await
        });
        let queued = until_waiting(&self.inference, before + 1);
        within_a_minute("the photo is queued", queued).await;
        asking
    }

    /// Takes the next batch, which has so many jobs, and runs it. A photo "endless" ends with the returned sender.
    async fn run_next(&self, jobs: usize) -> sync_mpsc::Sender<()> {
        let (end, ends) = sync_mpsc::channel::<()>();
        let ends = Mutex::new(ends);
        let waiting = Arc::clone(&self.waiting);
        let batch = tokio::task::spawn_blocking(move || take(&waiting, 1));
        let batch = batch.await.unwrap().expect("jobs wait");
        assert_eq!(batch.len(), jobs);
        std::thread::spawn(move || {
            let recognize = FakeRecognizer(move |photos: &[Bytes]| {
                if photos.contains(&Bytes::from("endless")) {
                    let _ = ends.lock().unwrap().recv();
                }
                photos.iter().map(result).collect::<Vec<_>>()
            });
            run_batch(batch, &recognize);
        });
        end
    }
}
