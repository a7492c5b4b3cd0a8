use std::path::Path;
use std::time::Instant;
use worker::vision::enrol::photos_below;
use worker::vision::*;
fn med(mut v: Vec<f64>) -> (f64, f64) {
    v.sort_by(f64::total_cmp);
    (v[v.len() / 2], v[v.len() / 10])
}
fn main() {
    let b = Path::new(".local/models/facenet128");
    let f = Recogniser::load_with(b, Gallery::default(), Engine::Fp32).unwrap();
    let i = Recogniser::load_with(b, Gallery::default(), Engine::Int8).unwrap();
    let mut crops = vec![];
    let mut photos = vec![];
    for p in photos_below(Path::new(".local/photos/train"))
        .unwrap()
        .into_iter()
        .chain(photos_below(Path::new(".local/photos/val")).unwrap())
    {
        let e = std::fs::read(&p).unwrap();
        crops.push(f.crop_photo(&e).unwrap());
        photos.push(e);
    }
    let cos: Vec<f64> = f
        .embed_crops(&crops)
        .iter()
        .zip(i.embed_crops(&crops))
        .map(|(a, b)| a.iter().zip(&b).map(|(x, y)| (x * y) as f64).sum())
        .collect();
    let mut s = cos.clone();
    s.sort_by(f64::total_cmp);
    println!(
        "int8 cos: min {:.5} p10 {:.5} median {:.5}",
        s[0], s[11], s[59]
    );
    let time = |w: &mut dyn FnMut()| {
        let mut v = vec![];
        for _ in 0..40 {
            let t = Instant::now();
            w();
            v.push(t.elapsed().as_secs_f64() * 1e3);
        }
        med(v)
    };
    println!(
        "fp32 b1 {:?}",
        time(&mut || {
            f.embed_crops(&crops[..1]);
        })
    );
    println!(
        "int8 b1 {:?}",
        time(&mut || {
            i.embed_crops(&crops[..1]);
        })
    );
    println!(
        "int8 b8 {:?}",
        time(&mut || {
            i.embed_crops(&crops[..8]);
        })
    );
    for n in [0usize, 20, 50] {
        let ph = decode::decode(&photos[n], &DecodeLimits::default()).unwrap();
        println!(
            "detect {}x{} {:?}",
            ph.width(),
            ph.height(),
            time(&mut || {
                f.detect(&ph);
            })
        );
    }
    println!(
        "decode 0 {:?}",
        time(&mut || {
            decode::decode(&photos[0], &DecodeLimits::default()).unwrap();
        })
    );
}
